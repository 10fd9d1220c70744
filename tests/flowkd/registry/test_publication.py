"""Of several processes at one publication, one makes a version; the same content is one version."""

from __future__ import annotations

from typing import Any

import pytest

from flowkd.errors import FencedError
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.registry.aliases import alias_version, last_number, set_alias
from flowkd.registry.artifact_manifest import versions
from flowkd.registry.artifacts import load_artifact, write_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.registry.removal import remove_version
from flowkd.store import holder, lease, lease_keeper
from flowkd.store.store import Store
from tests.support.pausing import woken_at_each_call

CONFIG = CouplingConfig(event_shape=(2,), mean=0.0, scale=1.0, width=4)


@pytest.fixture
def store(memory_store: Store) -> Store:
    """A store with a finished run, `a`."""
    write_artifact(memory_store, "runs/a/result", build_flow(CONFIG), CONFIG)
    return memory_store


def publish(store: Store, model: str = "m", **changes: Any) -> str:
    return publish_run(PublishConfig(model=model, source="runs/a", **changes), store)


@pytest.mark.parametrize("after", [False, True])
def test_one_that_stands_still_at_any_call_publishes_nothing_more_when_it_wakes(
    store: Store, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 1e6)
    monkeypatch.setenv(holder.JOB, "one")  # of which both are attempts

    def work(store: Store, number: int) -> None:
        publish(store, f"m{number}")
        if threadless(store):  # others have moved the alias since
            write_version(store, f"m{number}")
            set_alias(store, f"m{number}", "best", "later")

    def look(number: int) -> Any:
        model = f"m{number}"
        found = versions(store, model)
        assert len(found) == 2
        assert alias_version(store, model, "best") == "later"
        return found, store.read("models", model, found[0], "manifest.json")

    count, ends = woken_at_each_call(store, work, look, after=after)
    assert count > 20
    assert ends == {None, FencedError}


def threadless(store: Store) -> bool:
    return type(store) is Store


def write_version(store: Store, model: str) -> None:
    write_artifact(store, f"models/{model}/later", build_flow(CONFIG), CONFIG)


def test_the_same_content_is_one_version(store: Store) -> None:
    version = publish(store)
    assert publish(store) == version
    assert publish(store, alias="small") == version
    assert versions(store, "m") == [version]
    assert alias_version(store, "m", "small") == version
    other = publish(store, search="s")
    assert other != version
    assert alias_version(store, "m", "best") == other
    assert publish(store) == version  # who asks for it anew, gets the alias moved
    assert alias_version(store, "m", "best") == version
    assert load_artifact(store, "models/m@best").version == version


def test_another_attempt_of_one_job_moves_no_alias_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(holder.JOB, "one")
    monkeypatch.setenv(holder.ATTEMPT, "1")
    version = publish(store)
    write_version(store, "m")
    set_alias(store, "m", "best", "later")
    monkeypatch.setenv(holder.ATTEMPT, "2")
    assert publish(store) == version
    assert alias_version(store, "m", "best") == "later"
    assert last_number(store, "m", "best") == 2


def test_what_was_removed_is_published_anew(store: Store) -> None:
    version = publish(store)
    write_version(store, "m")
    set_alias(store, "m", "best", "later")
    remove_version(store, "m", version)
    again = publish(store)
    assert versions(store, "m") == sorted([again, "later"])
    assert again != version
