"""Workers for whom there are no resources, and a number of workers that may change."""

from __future__ import annotations

import pytest

from cluster.storage import StorageConfig
from cluster.train.launch import run_training
from cluster.train.placement import InsufficientResourcesError
from flowkd.config import parse_config
from flowkd.errors import ConfigError
from flowkd.store.store import Store
from flowkd.training.config import ScalingConfig, TrainingConfig
from tests.support.small_runs import furnish, training


@pytest.mark.parametrize(
    ("scaling", "asked"),
    [
        ({"workers": 2}, "asked for 2 times 50 CPU"),
        ({"workers": 2, "min_workers": 1}, "asked for at least 1 of 2 times 50 CPU"),
    ],
)
def test_a_run_for_which_there_are_no_resources_ends_and_says_what_to_do(
    ray_driver: None,
    local_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    scaling: dict[str, int],
    asked: str,
) -> None:
    furnish(local_store)
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "1")
    config = training("large", scaling={**scaling, "cpus": 50, "max_waits": 1})
    said = rf"run 'large'.*{asked}.*nodes have 4 CPU, of which .* free: lower scaling\.workers"
    with pytest.raises(InsufficientResourcesError, match=said):
        run_training(config, StorageConfig.from_uri(local_store.uri))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling": {"workers": 2, "min_workers": 3}}, "at most workers = 2; got 3"),
        (
            {"scaling": {"workers": 4, "min_workers": 2}},
            "expected batch_size divisible by each number of workers from scaling.min_workers = 2 "
            "to scaling.workers = 4; got 8, which 3 does not divide: take a multiple of 12",
        ),
        ({"scaling": {"workers": 3}}, "batch_size divisible by scaling.workers = 3; got 8"),
        (
            {
                "scaling": {"workers": 2, "min_workers": 1},
                "objective": {
                    "kind": "distillation", "teacher": "runs/teacher",
                    "samples": {"batch_size": 5},
                },
            },
            "expected objective.samples.batch_size divisible by each number",
        ),
    ],
)  # fmt: skip
def test_numbers_of_workers_that_do_not_divide_a_batch_are_refused(
    changes: dict[str, object], message: str
) -> None:
    values = {**training("odd").model_dump(), **changes}
    with pytest.raises(ConfigError, match=message):
        parse_config(TrainingConfig, values, source="odd.yaml")


def test_a_range_whose_numbers_all_divide_the_batch_is_accepted() -> None:
    for scaling in ({"workers": 2}, {"workers": 2, "min_workers": 1}):
        assert training("even", scaling=scaling).scaling.least in (1, 2)
    assert ScalingConfig(workers=3).least == 3
