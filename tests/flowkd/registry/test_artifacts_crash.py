"""A crash at any point of publishing leaves the old version readable, no half version visible."""

from __future__ import annotations

import itertools

import pytest
import torch

from flowkd.flows.flow import Flow
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifact_manifest import versions
from flowkd.registry.artifacts import load_artifact, publish_artifact
from flowkd.store.store import Store
from tests.support.crashes import Crash, crash_at
from tests.support.small_flows import CONFIGS, small_flow


def publish(store: Store, flow: Flow) -> str:
    version = publish_artifact(store, "digits", flow, CONFIGS["coupling"], metrics={"x": 1.0})
    set_alias(store, "digits", "best", version)
    return version


@pytest.fixture(params=["memory_store", "local_store", "moto_store"])
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_leaves_a_complete_best_and_no_half_version(
    store: Store, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    old, new = (small_flow("coupling", seed, torch.float32) for seed in (0, 1))
    first = publish(store, old)
    outcomes, whole = [], {first}
    for number in itertools.count(1):
        with monkeypatch.context() as patch:
            crash_at(patch, number, after=after)
            try:
                publish(store, new)
                break
            except Crash:
                pass
        complete = set(versions(store, "digits"))
        for half in set(store.list("models", "digits")) - complete - {"aliases"}:
            store.remove("models", "digits", half)  # seen and passed over: not again each time
        for version in complete - whole:
            found = load_artifact(store, f"models/digits@{version}").flow
            assert torch.equal(found.chain["step0.mix"].lower, new.chain["step0.mix"].lower)
            whole.add(version)
        outcomes.append(load_artifact(store, "models/digits@best").version == first)
    assert len(outcomes) > 10  # four parts written and verified, and what goes with them
    # Until the alias has moved, the old one is the best, and the new one from then on.
    assert outcomes == sorted(outcomes, reverse=True)
    assert outcomes.count(False) == 2 + int(after)  # it then looks for removals
    assert load_artifact(store, "models/digits@best").version != first
