"""How often a worker that prepares a run alone reads the shards of its data set."""

from __future__ import annotations

from collections import Counter

from flowkd.store.store import Store
from flowkd.training.setup import run_in_process
from tests.support.counting import counted_calls
from tests.support.small_runs import DISTILLATION, furnish, training


def measure() -> dict[str, int]:
    """Returns how many shards there are, and the most that one of them is read."""
    store = Store("memory://bench-scale-shards")
    furnish(store)
    train = {"steps": 3, "warmup_steps": 1}  # and a learning rate to find
    with counted_calls() as calls:
        list(run_in_process(training("one", objective=DISTILLATION, train=train), store))
    reads = Counter({name: count for name, count in calls.items() if name.endswith(".parquet")})
    store.remove()
    return {"shards": len(reads), "reads_of_each": max(reads.values())}
