"""What a run is judged by: its averaged weights, on all validation rows, and the best are kept."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from flowkd.data.rows import Examples
from flowkd.store.store import Store
from flowkd.training.run import Run
from tests.support.small_runs import prepared, training


@pytest.fixture
def run(taught_store: Store) -> Run:
    """A run whose average lags far behind what is trained."""
    settings = {"steps": 6, "learning_rate": 0.05, "warmup_steps": 0, "ema_decay": 0.999}
    run = prepared(training("judged", train=settings), taught_store)
    for _ in run.steps():
        pass
    return run


def test_the_average_is_judged_not_the_weights_of_the_last_step(run: Run) -> None:
    rows = run.inputs.validation
    with torch.no_grad():
        averaged, trained = (
            flow.log_prob(rows.x, rows.context).double().sum()
            for flow in (run.average.flow, run.objective.flow)
        )
    nats, count = run.validation_nats()
    torch.testing.assert_close(nats, averaged)
    assert count == len(rows)
    assert abs(nats - trained) > 0.1


def test_all_rows_are_judged_however_many(run: Run) -> None:
    rows = torch.randn(1203, 4)
    run.inputs = SimpleNamespace(validation=Examples(rows))
    nats, count = run.validation_nats()
    with torch.no_grad():
        expected = run.average.flow.log_prob(rows).double().sum()
    torch.testing.assert_close(nats, expected, rtol=1e-6, atol=0)
    assert count == 1203


def test_the_best_weights_are_kept_as_they_were(run: Run) -> None:
    run.best_bits_per_dim = math.inf
    good, better = torch.tensor([-40.0, 10.0]), torch.tensor([-30.0, 10.0])
    run.keep_if_best(better)
    kept = copy.deepcopy(run.best)
    with torch.no_grad():
        for parameter in run.average.flow.parameters():
            parameter.add_(1.0)
    for nats in (good, better):  # worse, and as good: the first of the best stays
        run.keep_if_best(nats)
    assert all(torch.equal(kept[name], run.best[name]) for name in kept)
