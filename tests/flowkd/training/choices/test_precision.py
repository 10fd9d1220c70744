"""Networks in bfloat16: what stays float32, what that costs, and how `auto` chooses."""

import copy
import json

import pytest
import torch

import flowkd
from flowkd.errors import ConfigError
from flowkd.flows.precision import WORTH_IT
from flowkd.training.choices.precision import measure_precision, with_precision
from flowkd.training.choices.rate import known_rate
from flowkd.training.loop import make_optimizer, train
from flowkd.training.resolve import record_run, resolve_run
from flowkd.training.train_config import TrainConfig
from tests.flowkd.training.test_memory import Batches, taught
from tests.support.small_flows import CONFIGS, small_batch, small_flow
from tests.support.small_runs import training

NAMES = ["glow of a vector", "coupling of classes"]


def gradients(flow, x, context):
    flow.zero_grad()
    (-flow.log_prob(x, context).mean() / flow.dimensions).backward()
    return torch.cat([value.grad.flatten() for value in flow.parameters()])


@pytest.mark.parametrize("name", NAMES)
def test_networks_alone_are_in_bf16(name):
    flow = small_flow(name, dtype=torch.float32)
    x, context = small_batch(flow, dtype=torch.float32)
    inside = []
    network = next(module for module in flow.modules() if hasattr(module, "conditioner"))
    network.conditioner.last.register_forward_hook(lambda *made: inside.append(made[-1].dtype))
    exact, ordinary = flow(x, context, list(flow.taps)), gradients(flow, x, context)
    flow.precision = "bf16"
    assert copy.deepcopy(flow).precision == "bf16"
    encoding = flow(x, context, list(flow.taps))
    assert set(inside) == {torch.float32, torch.bfloat16}
    for state in encoding.states.values():
        assert state.h.dtype == state.log_det.dtype == torch.float32
    assert encoding.log_prob.dtype == torch.float32
    assert not torch.equal(encoding.log_prob, exact.log_prob)
    torch.testing.assert_close(flow.inverse(encoding.z, context), x, rtol=1e-4, atol=1e-3)
    half = gradients(flow, x, context)
    assert (half - ordinary).norm() < 0.03 * ordinary.norm()
    flow.reversible = True
    assert (gradients(flow, x, context) - half).norm() < 0.01 * half.norm()


def test_an_optimiser_stays_in_float32_and_learns_as_much():
    losses = {}
    for precision in ("float32", "bf16"):
        objective = taught("glow")
        config = TrainConfig(steps=6, learning_rate=0.01, warmup_steps=0, precision=precision)
        optimizer = make_optimizer(objective.flow, config)
        steps = train(objective, Batches(objective.flow), optimizer, config)
        losses[precision] = [result.loss for result in steps]
        state = [value for each in optimizer.state.values() for value in each.values()]
        assert {value.dtype for value in (*state, *objective.flow.parameters())} == {torch.float32}
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"][-1] == pytest.approx(losses["float32"][-1], rel=0.02)


def test_auto_takes_what_is_faster_and_never_what_is_slower():
    for name in NAMES:
        found = measure_precision(CONFIGS[name], 8)
        times = found.milliseconds
        bf16_wins = times["bf16"] <= WORTH_IT * times["float32"]
        assert found.precision == ("bf16" if bf16_wins else "float32")
        assert found.machine in str(found)


def test_a_run_keeps_the_precision_that_it_began_with(taught_store):
    config = training("automatic", train={"steps": 4, "learning_rate": 0.01, "precision": "auto"})
    said = []
    run = resolve_run(config, taught_store)
    assert known_rate(run, taught_store) is None
    run = with_precision(run, taught_store, tell=said.append)
    chosen = run.config.train.precision
    assert chosen == run.found_precision.precision
    assert said == [str(run.found_precision)]
    record_run(config, run, taught_store)
    (kept,) = taught_store.list("precisions")
    facts = json.loads(taught_store.read("precisions", kept))
    other = {"bf16": "float32", "float32": "bf16"}[chosen]
    changed = json.dumps({**facts, "precision": other}).encode()
    taught_store.write(changed, "precisions", kept)
    again = with_precision(resolve_run(config, taught_store), taught_store)
    assert again.config.train.precision == chosen
    fresh = resolve_run(config.model_copy(update={"name": "another"}), taught_store)
    fresh = with_precision(fresh, taught_store)
    assert fresh.config.train.precision == other
    assert fresh.found_precision.shared


def test_fit_measures_as_well_and_leaves_a_flow_in_float32():
    flow = flowkd.coupling(3, depth=1, width=4)
    options = {"steps": 2, "learning_rate": 0.01, "batch_size": 16, "progress": False}
    flowkd.fit(flow, torch.randn(64, 3), precision="bf16", **options)
    flowkd.fit(flow, torch.randn(64, 3), precision="auto", **options)
    assert flow.precision == "float32"


def test_what_nobody_measures_is_refused():
    objective = taught("glow")
    config = TrainConfig(steps=1, learning_rate=0.01, precision="auto")
    with pytest.raises(ConfigError, match="expected float32 or bf16 here"):
        next(train(objective, None, make_optimizer(objective.flow, config), config))
