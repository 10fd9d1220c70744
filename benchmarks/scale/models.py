"""What it takes to find a version among many."""

from __future__ import annotations

from typing import Any

from benchmarks.scale.sites import Fill, told
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifact_manifest import resolve, versions
from flowkd.store.store import Store


def measure(store: Store, fill: Fill, count: int) -> dict[str, Any]:
    """Returns milliseconds and calls of the store, by what is asked."""
    for number in range(count):
        for name in ("config.yaml", "weights.safetensors", "metrics.json", "manifest.json"):
            fill(f"models/m/v{number:06}/{name}", b"{}")
    set_alias(store, "m", "best", f"v{count // 2:06}")
    found = {
        "resolve an alias": told(lambda: resolve(store, "models/m@best"), 21),
        "resolve a version": told(lambda: resolve(store, "models/m@v000001"), 21),
        "list all versions": told(lambda: versions(store, "m"), 3),
    }
    return {"versions": count, **found}
