"""What a store holds is told as it is, and only what nothing depends on can be removed."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from flowkd.errors import StoreError
from flowkd.registry.aliases import alias_versions, set_alias
from flowkd.registry.artifact_manifest import versions
from flowkd.registry.artifacts import Lineage, load_artifact, publish_artifact
from flowkd.registry.catalog import find_damage, model_versions
from flowkd.registry.removal import remove_version
from flowkd.store.sealed import seal_line
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import SNAPSHOT
from flowkd.training.runs import prune_checkpoints, run_state
from jobs.cli.main import app
from tests.support.small_flows import CONFIGS, small_flow


def publish(store: Store, model: str, **lineage: str) -> str:
    flow = small_flow("coupling", dtype=torch.float32)
    return publish_artifact(
        store, model, flow, CONFIGS["coupling"], metrics={"bits": 3.5}, lineage=Lineage(**lineage)
    )


def folder(run: str, number: int = 2) -> str:
    return f"runs/{run}/checkpoints/{number:08}"


@pytest.fixture
def store(local_store: Store) -> Store:
    """Two models, one of two versions with an alias, and two runs with checkpoints."""
    set_alias(local_store, "large", "best", publish(local_store, "large"))
    publish(local_store, "large")
    publish(local_store, "small", teacher="models/large@best", run="one")
    for run, count in (("one", 3), ("two", 1)):
        for number in range(count):
            local_store.write(b"x", folder(run), f"checkpoint_{number}", "state")
        local_store.write(b"{}", folder(run), SNAPSHOT)
    lines = [{"step": 5, "validation_bits_per_dim": 3.0}, {"step": 9}]
    text = b"".join(map(seal_line, lines))
    local_store.write(text, "runs", "one", "metrics", "00000001-0001-0-00000000.jsonl")
    return local_store


def call(store: Store, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--store", store.uri])
    return result.exit_code, result.output


def test_all_versions_are_listed_with_their_aliases(store: Store) -> None:
    found = model_versions(store)
    assert [version.model for version in found] == ["large", "large", "small"]
    best = alias_versions(store, "large")["best"]
    assert {each.version: each.aliases for each in found if each.aliases} == {best: ("best",)}
    assert all(each.bytes > 1000 for each in found)
    assert model_versions(store, "small") == found[2:]
    with pytest.raises(StoreError, match=r"no model 'tiny'.*there are large, small"):
        model_versions(store, "tiny")


def test_damage_is_found_and_named(store: Store) -> None:
    version = model_versions(store, "small")[0]
    assert find_damage(store, version.reference) == []
    folder = f"models/small/{version.version}"
    store.write(b"{}", folder, "metrics.json")
    store.remove(folder, "README.md")
    damage = find_damage(store, version.reference)
    assert len(damage) == 2
    assert any("metrics.json: expected" in each and "got 2 of" in each for each in damage)
    assert any("README.md" in each and "it is missing" in each for each in damage)
    code, output = call(store, "models", "verify", "--json")
    assert code == 1
    assert [each["damage"] == [] for each in json.loads(output)] == [True, True, False]


def test_only_a_version_that_nothing_depends_on_is_removed(store: Store) -> None:
    best = alias_versions(store, "large")["best"]
    other = next(version for version in versions(store, "large") if version != best)
    with pytest.raises(StoreError, match="pointed at by alias best: move it"):
        remove_version(store, "large", best)
    set_alias(store, "large", "best", other)
    remove_version(store, "large", best)
    assert versions(store, "large") == [other]
    with pytest.raises(StoreError, match="expected a version of model 'large'; got the alias"):
        remove_version(store, "large", "best")
    store.remove("models", "large", "aliases", "best")
    publish(store, "small", teacher=f"models/large@{other}")
    with pytest.raises(StoreError, match=r"is the teacher of models/small@.*remove these first"):
        remove_version(store, "large", other)
    assert load_artifact(store, f"models/large@{other}")


def test_a_crash_while_removing_leaves_nothing_visible(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = model_versions(store, "small")[0].version
    removed: list[tuple[str, ...]] = []
    remove = Store.remove

    def once(self: Store, *parts: str) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(parts)
        remove(self, *parts)

    monkeypatch.setattr(Store, "remove", once)
    with pytest.raises(KeyboardInterrupt):
        remove_version(store, "small", version)
    assert versions(store, "small") == []


def test_the_last_checkpoints_stay(store: Store) -> None:
    state = run_state(store, "one")
    assert (state.state, state.step, state.validation_bits_per_dim) == ("unfinished", 9, 3.0)
    assert state.checkpoints == ("checkpoint_0", "checkpoint_1", "checkpoint_2")
    going = [f"{folder('one')}/checkpoint_0", f"{folder('one')}/checkpoint_1"]
    assert prune_checkpoints(store, 1, dry_run=True) == going[:1]  # it may have to go on
    assert run_state(store, "one") == state
    assert prune_checkpoints(store, 2) == going[:1]
    assert prune_checkpoints(store, 1, "one") == []
    store.write(b"{}", "runs", "one", "result", "manifest.json")
    assert prune_checkpoints(store, 1, "one") == going[1:]
    assert run_state(store, "one").checkpoints == ("checkpoint_2",)
    assert run_state(store, "two").checkpoints == ("checkpoint_0",)
    assert store.exists(folder("one"), SNAPSHOT)
    with pytest.raises(StoreError, match="at least 1 checkpoint; got 0"):
        prune_checkpoints(store, 0)


def test_a_run_that_may_go_on_keeps_the_checkpoints_that_ray_has_noted(store: Store) -> None:
    path = (folder("one"), SNAPSHOT)
    noted = {"checkpoint_results": [{"checkpoint_dir_name": "checkpoint_0"}]}
    store.write_json(noted, *path)
    assert prune_checkpoints(store, 1) == []
    store.write(b"{}", "runs", "one", "result", "manifest.json")  # now it is finished
    assert prune_checkpoints(store, 1) == [f"{folder('one')}/checkpoint_{n}" for n in (0, 1)]


def test_what_was_written_by_who_was_fenced_out_counts_not_and_is_removed(store: Store) -> None:
    state = run_state(store, "one")
    store.write(b"x", folder("one", 1), "checkpoint_9", "state")  # by one who woke
    store.write(b"{}", folder("one", 1), SNAPSHOT)
    store.write(b"x", folder("one", 3), "checkpoint_9", "state")  # by one who has not begun
    assert run_state(store, "one") == state
    assert prune_checkpoints(store, 3) == [folder("one", 1)]
    assert run_state(store, "one") == state


def test_the_command_lists_shows_and_explains(store: Store) -> None:
    version = model_versions(store, "small")[0]
    code, output = call(store, "models", "list", "--json")
    assert code == 0
    assert [each["model"] for each in json.loads(output)] == ["large", "large", "small"]
    code, output = call(store, "models", "show", version.reference)
    assert code == 0
    assert all(word in output for word in ("parameters", "teacher: models/large@best", "bits: 3.5"))
    code, output = call(store, "runs", "list")
    assert code == 0
    assert "unfinished" in output
    code, output = call(store, "runs", "show", "three")
    assert code == 1
    assert "error: no run 'three'" in output
    code, output = call(store, "models", "alias", "small", "best", version.version)
    assert code == 0
    assert alias_versions(store, "small") == {"best": version.version}
    code, output = call(store, "models", "remove", "runs/one")
    assert code == 1
    assert "expected models/NAME@VERSION; got 'runs/one'" in output
