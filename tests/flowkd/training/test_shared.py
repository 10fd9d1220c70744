"""What runs share changes no bit of their results."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowkd.flows.flow import Flow
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.shared import SharedData, share
from tests.support.small_runs import DISTILLATION, prepared, training

SAMPLES = {"rows": 30}


def trained(config: TrainingConfig, store: Store, shared: SharedData | None) -> dict[str, Any]:
    run = prepared(config, store) if shared is None else shared.prepare(config)
    losses = [result.loss for result in run.steps()]
    return {"losses": losses, **run.objective.flow.state_dict()}


@pytest.mark.parametrize("cache", ["none", "memory"])
@pytest.mark.parametrize("samples", [0.0, 0.5])
@pytest.mark.parametrize("warm_start", ["none", "slice"])
def test_a_run_is_bitwise_the_same_with_what_is_shared(
    taught_store: Store, cache: str, samples: float, warm_start: str
) -> None:
    weights = {**DISTILLATION["weights"], "samples": samples, "density": 0.1}
    objective = {
        **DISTILLATION, "weights": weights, "samples": SAMPLES, "cache": {"kind": cache},
        "warm_start": warm_start,
    }  # fmt: skip
    config = training("student", objective=objective)
    most = training("most", objective={**objective, "weights": {**weights, "samples": 1.0}})
    shared = share(most, taught_store, ["step0", "step1", "step2"])
    alone = trained(config, taught_store, None)
    for _ in range(2):  # one after the other, as in a worker that is used again
        beside = trained(config, taught_store, shared)
        assert beside["losses"] == alone["losses"]
        for name, value in alone.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(beside[name], value), name


def test_nothing_is_asked_again(taught_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = {
        **DISTILLATION, "weights": {"nll": 1, "samples": 1, "hints": 1}, "samples": SAMPLES,
        "cache": {"kind": "memory"},
    }  # fmt: skip
    config = training("student", objective=objective)
    shared = share(config, taught_store, ["step1"])
    asked = []
    for name in ("forward", "inverse"):
        before = getattr(Flow, name)

        def counted(flow: Any, *arguments: Any, before: Any = before, **more: Any) -> Any:
            asked.append(flow is shared.data.teacher)
            return before(flow, *arguments, **more)

        monkeypatch.setattr(Flow, name, counted)
    trained(config, taught_store, shared)
    assert asked
    assert not any(asked)
