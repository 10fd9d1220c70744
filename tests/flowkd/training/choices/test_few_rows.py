"""Few rows: validated often, and what keeps a flow from learning them by heart is found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from flowkd.flows.build import build_flow
from flowkd.store.store import Store
from flowkd.training.choices import climb, trials
from flowkd.training.choices.climb import MIN_GAIN, first_gains
from flowkd.training.config import TrainingConfig
from flowkd.training.loop import make_optimizer
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from flowkd.training.train_config import TrainConfig
from tests.support.small_flows import CONFIGS, randomise
from tests.support.small_runs import training

FIND = {"train": {"steps": 20, "warmup_steps": 2, "learning_rate": "find"}, "batch_size": 8}


def test_few_rows_are_validated_often_and_many_as_before() -> None:
    unset = TrainingConfig(name="a", dataset="b", batch_size=256)
    steps = [unset.validation_steps(rows) for rows in (10, 120, 2000, 5120, 10**7, None)]
    assert steps == [20, 20, 78, 200, 200, 200]
    given = unset.model_copy(update={"validate_every": 7})
    assert [given.validation_steps(rows) for rows in (10, 10**7)] == [7, 7]


def test_a_run_is_validated_by_the_rows_that_it_learns_from(taught_store: Store) -> None:
    config = training("new", validate_every=None, batch_size=1)
    whole, part = (
        resolve_run(config.model_copy(update={"train_rows": rows}), taught_store)
        for rows in (None, 10)
    )
    assert (whole.train_rows, part.train_rows) == (40, 10)
    assert (whole.validate_every, part.validate_every) == (200, 100)


@pytest.mark.parametrize(
    ("scores", "taken", "asked"),
    [
        ([0.9, 0.8, 0.7], 3, 3),
        ([0.9, 0.95, 0.1], 1, 2),
        ([1.1, 0.1, 0.1], 0, 1),
        ([1 - MIN_GAIN / 2, 0.1, 0.1], 0, 1),
        ([float("inf"), 0.1, 0.1], 0, 1),
    ],
)
def test_more_is_tried_as_long_as_it_gains(scores: list[float], taken: int, asked: int) -> None:
    tried: list[int] = []

    def score(number: int) -> float:
        tried.append(number)
        return scores[number]

    assert first_gains([0, 1, 2], score, 1.0) == taken
    assert len(tried) == asked


def test_weight_decay_shrinks_the_weights_of_networks_and_nothing_else() -> None:
    flow = randomise(build_flow(CONFIGS["coupling"]))
    before = {name: each.detach().clone() for name, each in flow.named_parameters()}
    config = TrainConfig(steps=1, learning_rate=0.1, weight_decay=2.0)
    optimizer = make_optimizer(flow, config)
    for parameter in flow.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, each in flow.named_parameters():
        decays = "conditioner" in name and name.endswith("weight")
        torch.testing.assert_close(each.detach(), before[name] * (1 - 0.1 * 2.0 if decays else 1))
    assert any("conditioner" in name for name in before)


@pytest.mark.parametrize("few", [True, False])
def test_only_of_few_rows_more_than_a_rate_is_looked_for_and_kept_with_it(
    taught_store: Store, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    monkeypatch.setattr(trials, "FEW_ROWS", 41 if few else 40)
    monkeypatch.setattr(climb, "LEAST_RATE", 0.004)
    monkeypatch.setattr(climb, "MOST_RATE", 0.008)
    monkeypatch.setattr(climb, "MIN_GAIN", -9.0)  # whatever it brings
    monkeypatch.setattr(trials, "DECAYS", (0.01,))
    monkeypatch.setattr(trials, "NARROWER", (0.5,))
    list(run_in_process(training("new", flow=None, **FIND), taught_store))
    run: dict[str, Any] = yaml.safe_load(taught_store.read("runs", "new", "resolved.yaml"))
    found, trained = run["found_rate"], run["config"]
    decay = float(f"{0.01 / found['learning_rate']:.2g}")
    assert len(found["others"]) == (2 if few else 0)
    assert (f"weight decay {decay:g}" in found["others"]) == few
    assert trained["train"]["weight_decay"] == (decay if few else None)
    assert trained["flow"]["width"] == run["flow"]["width"] == (16 if few else 32)
    again = training("again", flow=None, **FIND)
    list(run_in_process(again, taught_store))
    shared = yaml.safe_load(taught_store.read("runs", "again", "resolved.yaml"))
    assert shared["flow"] == run["flow"]
    assert shared["found_rate"] == {**found, "shared": True}
