"""Properties of the training loop: schedule, clipping, averaging, and a stop at the first NaN."""

import copy
import math

import pytest
import torch

from flowkd.data.batch import Batch
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.schedules import LossWeights
from flowkd.errors import NonFiniteError
from flowkd.flows.build import build_flow
from flowkd.training.horizon import Horizon
from flowkd.training.loop import AveragedFlow, make_optimizer, train
from flowkd.training.train_config import TrainConfig
from tests.support.small_flows import CONFIGS, randomise


class Correlated:
    """Rows of a correlated normal distribution; `faults` are put into a step's x or z."""

    def __init__(self, rows=32, faults=None):
        self.rows = rows
        self.faults = faults or {}

    def batch(self, step):
        generator = torch.Generator().manual_seed(step)
        noise = torch.randn(self.rows, 4, generator=generator)
        values = {
            "x": torch.cumsum(noise, 1) * 2 + 1,
            "z": torch.randn(self.rows, 4, generator=generator),
        }
        for key, value in self.faults.get(step, {}).items():
            values[key][1, 2] = value
        return Batch(**values)


def new_flow(seed=0):
    return build_flow(CONFIGS["coupling, reversing"], seed=seed)


def run(objective, batches=None, average=None, optimizer=None, start=0, **options):
    config = TrainConfig(**{"steps": 5, "learning_rate": 0.01, "warmup_steps": 0, **options})
    optimizer = optimizer or make_optimizer(objective.flow, config)
    return train(
        objective, batches or Correlated(), optimizer, config, start=start, average=average
    )


def parameters(flow):
    return torch.cat([parameter.detach().flatten() for parameter in flow.parameters()]).clone()


def test_the_loss_falls():
    flow = new_flow()
    flow.initialize(Correlated(256).batch(99).x)
    results = list(run(MaximumLikelihood(flow), steps=150))
    assert [result.step for result in results] == list(range(1, 151))
    assert all(result.loss == result.terms["nll"] for result in results)
    early, late = (sum(r.loss for r in part) / 20 for part in (results[:20], results[-20:]))
    entropy = 0.5 * math.log(2 * math.pi * math.e) + math.log(2)
    assert entropy - 0.05 < late < early - 0.2


def test_the_learning_rate_at_its_corners():
    config = TrainConfig(steps=14, learning_rate=2.0, warmup_steps=4, min_learning_rate_ratio=0.1)
    rates = [Horizon(config).learning_rate_at(step) for step in range(15)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[9] == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert rates[14] == pytest.approx(0.2)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert Horizon(config).learning_rate_at(1000) == pytest.approx(0.2)
    constant = config.model_copy(update={"schedule": "constant"})
    assert [Horizon(constant).learning_rate_at(step) for step in (0, 4, 13)] == pytest.approx(
        [0.4, 2, 2]
    )
    for warmup in (0, 3, 50):
        short = TrainConfig(steps=3, learning_rate=2.0, warmup_steps=warmup)
        assert Horizon(short).learning_rate_at(0) == pytest.approx(2.0 / (warmup + 1))


def test_the_learning_rate_is_that_of_the_step():
    flow = new_flow()
    options = {"steps": 6, "warmup_steps": 2, "learning_rate": 0.1}
    optimizer = torch.optim.SGD(flow.parameters(), lr=123.0)
    for result in run(MaximumLikelihood(flow), optimizer=optimizer, **options):
        assert result.learning_rate == Horizon(TrainConfig(**options)).learning_rate_at(
            result.step - 1
        )
        assert optimizer.param_groups[0]["lr"] == result.learning_rate


def test_a_step_is_clipped_to_the_largest_gradient_norm():
    for clip, clips in ((0.01, True), (1e6, False)):
        flow = randomise(new_flow())
        before = parameters(flow)
        optimizer = torch.optim.SGD(flow.parameters(), lr=1.0)
        options = {
            "learning_rate": 1.0,
            "schedule": "constant",
            "max_gradient_norm": clip,
            "steps": 1,
        }
        (result,) = run(MaximumLikelihood(flow), optimizer=optimizer, **options)
        moved = (parameters(flow) - before).norm().item()
        assert (result.gradient_norm > clip) == clips
        assert moved == pytest.approx(clip if clips else result.gradient_norm, rel=1e-3)


@pytest.mark.parametrize("decay", [0.15, 0.995])
def test_the_average_is_that_of_a_computation_by_hand(decay):
    flow = new_flow()
    average = AveragedFlow(flow, decay)
    expected = parameters(flow).double()
    for result in run(MaximumLikelihood(flow), average=average):
        n = result.step - 1
        keep = min(decay, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * parameters(flow).double()
        torch.testing.assert_close(parameters(average.flow).double(), expected, rtol=0, atol=1e-6)
    assert not torch.equal(parameters(average.flow), parameters(flow))
    assert not any(parameter.requires_grad for parameter in average.flow.parameters())


def distillation():
    teacher = randomise(new_flow(seed=1))
    return Distillation(
        randomise(new_flow()), teacher, weights=LossWeights(latent=0.1, synthesis=0.1)
    )


@pytest.mark.parametrize(
    ("objective", "fault", "message"),
    [
        (lambda: MaximumLikelihood(new_flow()), {"x": math.nan}, "step 4: nll is nan"),
        (lambda: MaximumLikelihood(new_flow()), {"x": math.inf}, "step 4: nll is (nan|inf)"),
        (distillation, {"x": math.nan}, "step 4: nll is nan"),
        (distillation, {"z": math.nan}, "step 4: synthesis is nan"),
    ],
)
def test_the_first_term_that_is_not_finite_stops_the_run(objective, fault, message):
    objective = objective()
    average = AveragedFlow(objective.flow, 0.9)
    steps = run(objective, Correlated(faults={3: fault}), average)
    for _ in range(3):
        next(steps)
    before = parameters(objective.flow), parameters(average.flow)
    with pytest.raises(NonFiniteError, match=message):
        next(steps)
    after = parameters(objective.flow), parameters(average.flow)
    assert all(map(torch.equal, before, after))
    assert all(value.isfinite().all() for value in after)


def test_a_gradient_that_is_not_finite_stops_the_run():
    class Rooted(MaximumLikelihood):
        def forward(self, batch, progress=0.0):
            losses = super().forward(batch, progress)
            # Finite, of infinite slope: the square root at zero.
            return type(losses)(
                losses.total + (self.flow.chain["step0.actnorm"].bias * 0).sum().sqrt(),
                losses.terms,
            )

    flow = new_flow()
    before = parameters(flow)
    with pytest.raises(NonFiniteError, match="step 1: gradient norm is nan"):
        next(run(Rooted(flow)))
    assert torch.equal(parameters(flow), before)


def test_a_later_start_goes_on_with_the_batch_that_comes_next():
    flow = new_flow()
    objective, config = MaximumLikelihood(flow), TrainConfig(steps=6, learning_rate=1e-3)
    whole = [result.loss for result in run(copy.deepcopy(objective), steps=6)]
    optimizer = make_optimizer(flow, config)
    steps = run(objective, optimizer=optimizer, steps=6)
    parts = [next(steps).loss for _ in range(2)]
    parts += [result.loss for result in run(objective, optimizer=optimizer, steps=6, start=2)]
    assert parts == whole
