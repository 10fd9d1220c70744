"""How far a training is, in a word of the queue's table."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.queue.progress import progress_of
from cluster.queue.spec import JobSpec
from flowkd.store.store import Store
from flowkd.training.logs.metrics import RunLog


@pytest.mark.parametrize(
    ("train", "lines", "said"),
    [
        ({"steps": 50, "plateau": None}, [], "0 of 50"),
        ({"steps": 50, "plateau": None}, [{"step": 20}], "20 of 50"),
        ({"steps": 50, "plateau": {"growth": 2}}, [{"step": 20}], "20 of at most 50"),
        (
            {"steps": 50, "plateau": {"growth": 2}},
            [{"step": 20, "ends_no_earlier": 40}],
            "20 of at least 40",
        ),
        ({"steps": 50, "plateau": {"growth": 2}}, [{"step": 20, "ends_at": 25}], "20 of 25"),
    ],
)
def test_an_end_that_is_open_is_told_as_the_most(
    memory_store: Store, train: dict[str, Any], lines: list[dict[str, Any]], said: str
) -> None:
    with RunLog(memory_store, "run") as log:
        for line in lines:
            log.append(line)
    spec = JobSpec(
        id="a", kind="distill", owner="me", config={"name": "run", "train": train}
    )  # fmt: skip
    assert progress_of(memory_store, spec) == said
