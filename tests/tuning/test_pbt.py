"""Members of a population: what they make of another's state, without Ray Tune's choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune

from cluster.train.checkpoints import read_state
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.shared import SharedData, share
from tests.support.searches import searching
from tests.support.small_runs import furnish, prepared
from tuning.candidates import CandidateSpace
from tuning.pbt import train_from
from tuning.records import SearchRecords, TrialEnd
from tuning.trial import TrialReporter

CONFIG = searching(
    "population", algorithm="pbt", trials=2, validate_every=5,
    space={"weights": {"latent": {"low": 0.01, "high": 1}}, "learning_rate": 0.01},
    train={"steps": 20, "learning_rate": 1e-3, "warmup_steps": 2, "ema_decay": 0.9},
)  # fmt: skip


class Heard(TrialReporter):
    """Keeps what would be told to Ray Tune."""

    def __init__(self, records: SearchRecords, number: int) -> None:
        super().__init__(records, number, None)
        self.states: dict[int, dict[str, Any]] = {}

    def _report(self, step: int, bits: float, checkpoint: tune.Checkpoint | None = None) -> None:
        assert checkpoint is not None
        self.states[step] = read_state(Path(checkpoint.path), "cpu")


@pytest.fixture
def records(local_store: Store) -> SearchRecords:
    furnish(local_store)
    return SearchRecords(local_store, CONFIG.name)


@pytest.fixture
def shared(records: SearchRecords) -> SharedData:
    candidates = CandidateSpace(CONFIG, records.store)
    return share(candidates.shared_run(), records.store, candidates.teacher_taps)


def end_of(
    number: int, latent: float, state: Any, shared: SharedData, records: SearchRecords
) -> tuple[Heard, TrialEnd]:
    training = {
        "name": "member", "dataset": "walks",
        "flow": {"kind": "coupling", "depth": 2, "width": 6, "context": "ignore"},
        "objective": {"kind": "distillation", "teacher": "runs/teacher", "weights": {"latent": 1}},
        "train": {"steps": 20, "learning_rate": 1e-3, "warmup_steps": 2, "ema_decay": 0.9},
        "batch_size": 8,
        "validate_every": 5,
    }  # fmt: skip
    heard = Heard(records, number)
    train_from(state, {"training": training, "weights": {"latent": latent}}, shared, heard)
    ended = records.ended(number)
    assert ended is not None
    assert ended.training is not None
    return heard, ended


def test_what_takes_anothers_place_can_be_trained_again(
    shared: SharedData, records: SearchRecords
) -> None:
    first, _ = end_of(0, 0.5, None, shared, records)
    _, second = end_of(1, 0.25, first.states[10], shared, records)
    config = TrainingConfig.model_validate(second.training)
    assert config.distillation is not None
    assert [config.distillation.weights.at(p)["latent"] for p in (0.0, 0.49, 0.5, 0.9)] == [
        0.5, 0.5, 0.25, 0.25,
    ]  # fmt: skip
    run = prepared(config, records.store)
    curve = [
        (run.step, run.best_bits_per_dim)
        for result in run.steps()
        if "validation_bits_per_dim" in run.record(result)
    ]
    assert [tuple(point) for point in second.curve] == curve


def test_what_takes_the_place_of_one_that_has_ended_ends_as_that_one_did(
    shared: SharedData, records: SearchRecords
) -> None:
    first, ended = end_of(0, 0.5, None, shared, records)
    _, second = end_of(1, 0.25, first.states[20], shared, records)
    assert (second.state, second.curve, second.training) == (
        "finished",
        ended.curve,
        ended.training,
    )
