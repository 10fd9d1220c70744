"""What it costs to find a version does not depend on how many there are."""

from __future__ import annotations

import pytest

from flowkd.errors import StoreError
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifact_manifest import resolve, versions
from flowkd.store.store import Store
from tests.support.counting import CALLS, counted_calls


def with_versions(store: Store, count: int) -> list[str]:
    names = [f"v{number:05}" for number in range(count)]
    for name in names:
        for part in ("manifest.json", "parts/manifest.json", "weights.safetensors"):
            store.write(b"{}", "models", "m", name, part)
    store.write(b"{}", "models", "m", "half", "weights.safetensors")
    for name in names[-3:]:
        set_alias(store, "m", "best", name)
    return names


@pytest.mark.parametrize("reference", ["models/m@best", "models/m@v00001"])
def test_a_reference_is_resolved_by_as_many_calls_among_any_number(reference: str) -> None:
    costs = []
    for count in (3, 60):
        store = Store(f"memory://versions-{count}-{reference[-3:]}")
        with_versions(store, count)
        with counted_calls() as calls:
            resolve(store, reference)
        costs.append(sum(calls[name] for name in CALLS))
        store.remove()
    assert costs[0] == costs[1] <= 6


@pytest.mark.parametrize("kind", ["local", "moto"])
def test_versions_are_told_by_one_listing(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    names = with_versions(store, 4)
    with counted_calls() as calls:
        assert versions(store, "m") == names
        assert versions(store, "other") == []
    assert {name: calls[name] for name in CALLS if calls[name]} == {"find": 2}


def test_of_many_versions_a_message_names_the_last(memory_store: Store) -> None:
    with_versions(memory_store, 30)
    with pytest.raises(StoreError, match=r"versions: 30, the last of them v00020, .*v00029$"):
        resolve(memory_store, "models/m@other")
