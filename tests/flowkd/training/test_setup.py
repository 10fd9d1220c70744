"""A worker that prepares a run alone reads each shard of its data set once."""

from __future__ import annotations

from typing import Any

import pytest

from flowkd.store.store import Store
from flowkd.training.setup import run_in_process
from tests.support.counting import counted_calls
from tests.support.small_runs import DISTILLATION, furnish, training

FIND = {"steps": 3, "warmup_steps": 1}  # a learning rate is looked for


@pytest.mark.parametrize(
    "changes",
    [{}, {"train": FIND}, {"objective": DISTILLATION, "train": FIND}],
    ids=["as given", "with a rate to find", "distilled"],
)
def test_each_shard_is_read_once(memory_store: Store, changes: dict[str, Any]) -> None:
    furnish(memory_store)
    with counted_calls() as calls:
        assert len(list(run_in_process(training("run", **changes), memory_store))) > 0
    shards = {name: count for name, count in calls.items() if name.endswith(".parquet")}
    assert len(shards) == 8  # four of train and four of val
    assert set(shards.values()) == {1}
