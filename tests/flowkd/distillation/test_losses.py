"""Properties of objectives: what terms are, and that a perfect student has none."""

import copy
import math

import numpy as np
import pytest
import torch

from flowkd.data.batch import Batch
from flowkd.distillation.hints import Hint
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.schedules import Cosine, Linear, LossWeights
from flowkd.distillation.targets import compute_targets
from flowkd.flows.build import build_flow
from flowkd.training.loop import make_optimizer, train
from flowkd.training.train_config import TrainConfig
from tests.support.small_flows import CONFIGS, randomise, small_batch, small_flow

ALL = LossWeights(
    nll=0.8, samples=0.7, density=0.6, latent=0.1, hints=0.3, log_det=0.4, synthesis=0.2
)
DRAWN = 2  # of the rows of a batch, so many stand for teacher samples


def pair(name, dtype=torch.float64):
    """A student and a deeper, wider teacher, and hints that pair their steps."""
    deeper = {"depth": CONFIGS[name].depth + 1, "width": 9}
    student = small_flow(name, seed=1, dtype=dtype)
    teacher = build_flow(CONFIGS[name].model_copy(update=deeper)).to(dtype)
    randomise(teacher, seed=2, by=0.2)
    taps = [tap for tap in student.taps if tap.endswith("actnorm")]
    pairs = {tap: Hint(student=tap, teacher=tap) for tap in (taps[0], taps[-1])}
    return student, teacher, list(pairs.values())


def weights_for(student):
    """Of the terms that a student computes in the direction that takes it one pass."""
    values, one = ALL.model_dump(), student.one_pass
    ways = {name: "sample" if name == "synthesis" else "log_prob" for name in values}
    return LossWeights(
        **{name: value if one[ways[name]] else 0.0 for name, value in values.items()}
    )


def noise(x, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(x), math.prod(x.shape[1:]), generator=generator, dtype=x.dtype)


def in_order_one(flow, x):
    """Data in units of the config's scale, by NumPy; the mean drops out of differences."""
    config, x = flow.config, x.numpy().copy()
    for column, transform in enumerate(config.transforms or ()):
        if transform is not None and transform.kind == "log":
            x[:, column] = np.log(x[:, column])
        elif transform is not None and transform.kind == "asinh":
            x[:, column] = np.arcsinh((x[:, column] - transform.center) / transform.scale)
        elif transform is not None:
            below, above = x[:, column] - transform.low, transform.high - x[:, column]
            x[:, column] = np.log(below / above)
    return x / np.asarray(config.scale)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_terms_are_what_they_are_defined_to_be(name):
    student, teacher, hints = pair(name)
    x, context = small_batch(student)
    z = noise(x)
    batch = Batch(x, context, z, samples=DRAWN)
    weights = weights_for(student)
    hints = hints if weights.hints else []
    losses = Distillation(student, teacher, hints, weights, temperature=0.7)(batch)

    ours, theirs = (flow(x, context, list(flow.taps)) for flow in (student, teacher))
    scaled = 0.7 * z.view(len(x), *student.latent_shape)
    ends = [in_order_one(flow, flow.inverse(scaled, context)) for flow in (student, teacher)]
    distances = [
        (ours.states[h.student].h - theirs.states[h.teacher].h).numpy() ** 2 for h in hints
    ]
    contributions = [
        (ours.states[h.student].log_det - theirs.states[h.teacher].log_det).numpy() for h in hints
    ]
    dimensions = math.prod(x.shape[1:])
    nats = -student.log_prob(x, context).numpy() / dimensions
    density = (student.log_prob(x, context) - teacher.log_prob(x, context)).numpy() / dimensions
    every = {
        "nll": nats[:-DRAWN].mean(),
        "samples": nats[-DRAWN:].mean(),
        "density": (density**2).mean(),
        "log_det": sum(((c / dimensions) ** 2).mean() for c in contributions) / max(1, len(hints)),
        "latent": ((ours.z - theirs.z).numpy() ** 2).mean(),
        "hints": sum(distance.mean() for distance in distances) / max(1, len(hints)),
        "synthesis": abs(ends[0] - ends[1]).mean(),
    }
    expected = {key: value for key, value in every.items() if getattr(weights, key)}
    assert expected
    assert {key: term.item() for key, term in losses.terms.items()} == pytest.approx(expected)
    assert all(expected[key] > 0 for key in set(expected) - {"nll", "samples"})
    total = sum(getattr(weights, key) * value for key, value in expected.items())
    assert losses.total.item() == pytest.approx(total)


def test_maximum_likelihood_is_the_nll_alone():
    flow = small_flow("glow")
    x, _ = small_batch(flow)
    losses = MaximumLikelihood(flow)(Batch(x))
    assert losses.total.item() == pytest.approx(-flow.log_prob(x).mean().item() / 16)
    assert losses.terms == {"nll": losses.total}


def test_a_term_of_weight_zero_is_left_out():
    student, teacher, _ = pair("coupling")
    x, _ = small_batch(student)
    for key in ("latent", "synthesis"):
        losses = Distillation(student, teacher, weights=LossWeights(**{key: 1.0}))(
            Batch(x, z=noise(x))
        )
        assert set(losses.terms) == {"nll", key}
    assert set(Distillation(student, teacher)(Batch(x)).terms) == {"nll"}


@pytest.mark.parametrize("key", ["samples", "synthesis"])
def test_rows_of_no_weight_change_neither_the_loss_nor_its_gradient(key):
    student, teacher, _ = pair("coupling")
    x, _ = small_batch(student)
    z = noise(x)
    far = x.clone()
    far[:-DRAWN] = 1e200  # its likelihood is 0, and 0 times infinity no number
    assert student.log_prob(far)[0].isneginf()
    objective = Distillation(student, teacher, weights=LossWeights(**{"nll": 0.0, key: 1.0}))
    found = []
    for rows in (x, far):
        student.zero_grad()
        losses = objective(Batch(rows, z=z, samples=DRAWN))
        losses.total.backward()
        assert set(losses.terms) == {key}
        found.append([losses.total, *(each.grad for each in student.parameters())])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert found[0][0].item() != 0.0


def test_every_parameter_has_a_gradient_though_no_term_reaches_it():
    student, teacher, hints = pair("glow")
    weights = LossWeights(nll=0.0, hints=Linear(start=1.0, end=0.0))
    x, _ = small_batch(student)
    for progress in (0.0, 1.0):  # at the end no term is left
        student.zero_grad(set_to_none=True)
        losses = Distillation(student, teacher, hints[:1], weights)(Batch(x), progress)
        losses.total.backward()
        assert all(parameter.grad is not None for parameter in student.parameters())
    assert losses.total.item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_student_identical_to_its_teacher_has_nothing_to_learn(name, dtype):
    teacher = small_flow(name, dtype=dtype)
    student = copy.deepcopy(teacher)
    hints = [Hint(student=tap, teacher=tap) for tap, at in teacher.taps.items() if at.parameters]
    x, context = small_batch(student, dtype=dtype)
    options = [{}, {"channels": "active"}, {"normalize": True}]
    weights = weights_for(student)
    for option in options:
        changed = [hint.model_copy(update=option) for hint in hints if weights.hints]
        objective = Distillation(student, teacher, changed, weights)
        losses = objective(Batch(x, context, noise(x), samples=DRAWN))
        for key in set(losses.terms) - {"nll", "samples"}:
            assert losses.terms[key].item() == 0.0, key
        assert all(losses.terms[key].item() for key in set(losses.terms) & {"nll", "samples"})


class Stream:
    """The same rows at every step, with fresh noise for the latents."""

    def __init__(self, flow):
        self.x, self.context = small_batch(flow, rows=16, dtype=torch.float32)

    def batch(self, step):
        return Batch(self.x, self.context, noise(self.x, seed=step), samples=DRAWN)


def changed(before, flow):
    return {key for key, value in flow.state_dict().items() if not torch.equal(before[key], value)}


@pytest.mark.parametrize("name", ["glow", "coupling of classes"])
def test_the_teacher_never_changes(name):
    student, teacher, hints = pair(name, torch.float32)
    objective = Distillation(student, teacher, hints, ALL)
    before = copy.deepcopy((teacher.state_dict(), student.state_dict()))
    config = TrainConfig(steps=4, learning_rate=0.01, warmup_steps=0)
    list(train(objective, Stream(student), make_optimizer(student, config), config))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert changed(before[0], teacher) == set()
    assert changed(before[1], student) == {key for key, _ in student.named_parameters()}


@pytest.mark.parametrize("key", ["density", "latent", "synthesis", "hints", "samples"])
def test_each_term_teaches_every_parameter_that_it_depends_on(key):
    student, teacher, hints = pair("glow")
    weights = LossWeights(**{"nll": 0.0, key: 1.0})
    used = hints[:1] if key == "hints" else []
    x, _ = small_batch(student)
    batch = Batch(x, z=noise(x), samples=DRAWN)
    Distillation(student, teacher, used, weights)(batch).total.backward()
    reached = sum(
        parameter.numel()
        for parameter in student.parameters()
        if parameter.grad is not None and parameter.grad.any()
    )
    everything = sum(parameter.numel() for parameter in student.parameters())
    assert reached == (student.taps[hints[0].student].parameters if used else everything)


def test_both_flows_see_the_very_same_data():
    student, teacher, hints = pair("glow of classes")
    seen = []
    for flow in (student, teacher):
        flow.register_forward_pre_hook(lambda _module, arguments: seen.append(arguments))
    x, context = small_batch(student)
    before = x.clone()
    batch = Batch(x, context, noise(x), samples=DRAWN)
    Distillation(student, teacher, hints, ALL)(batch)
    assert len(seen) == 2
    assert all(arguments[0] is x and arguments[1] is context for arguments in seen)
    assert torch.equal(x, before)


def test_synthesis_without_noise_is_refused():
    student, teacher, _ = pair("coupling")
    objective = Distillation(student, teacher, weights=LossWeights(synthesis=1.0))
    with pytest.raises(ValueError, match=r"noise z of \(B, D\) for the term 'synthesis'; got none"):
        objective(Batch(small_batch(student)[0]))


def test_samples_are_asked_for_by_their_term():
    student, teacher, _ = pair("coupling")
    objective = Distillation(student, teacher, weights=LossWeights(samples=1.0))
    with pytest.raises(ValueError, match="teacher samples for the term 'samples'; got none"):
        objective(Batch(small_batch(student)[0]))


@torch.no_grad()
def test_without_data_the_samples_are_all_there_is():
    student, teacher, _ = pair("coupling")
    x, _ = small_batch(student)
    weights = LossWeights(nll=0.0, samples=1.0, density=1.0)
    losses = Distillation(student, teacher, weights=weights)(Batch(x, samples=len(x)))
    assert set(losses.terms) == {"samples", "density"}
    assert losses.terms["samples"].item() == pytest.approx(-student.log_prob(x).mean().item() / 5)


@torch.no_grad()
def test_answers_that_a_batch_carries_are_taken_as_the_teachers():
    student, teacher, hints = pair("glow of classes")
    x, context = small_batch(student)
    taps = [hint.teacher for hint in hints]
    known = compute_targets(teacher, x, context, taps)
    weights = ALL.model_copy(update={"synthesis": 0.0, "samples": 0.0})
    asked = Distillation(student, teacher, hints, weights)(Batch(x, context))
    stranger = randomise(copy.deepcopy(teacher), seed=5)
    carried = Distillation(student, stranger, hints, weights)(Batch(x, context, targets=known))
    assert carried.terms == asked.terms


@torch.no_grad()
def test_a_hint_of_the_active_channels_leaves_out_those_that_pass_by():
    student, teacher = small_flow("glow", seed=1), small_flow("glow", seed=2)
    x, _ = small_batch(student)
    tap = "level1.step0"
    assert (student.taps[tap].channels, student.taps[tap].shape[0]) == (8, 16)
    ours, theirs = (flow(x, taps=[tap]).states[tap].h for flow in (student, teacher))
    weights = LossWeights(hints=1.0)

    def term(**options):
        hint = Hint(student=tap, teacher=tap, **options)
        return Distillation(student, teacher, [hint], weights)(Batch(x)).terms["hints"].item()

    active = (ours - theirs)[:, :8].square().mean().item()
    assert term(channels="active") == pytest.approx(active)
    assert term() != pytest.approx(active)
    assert term(normalize=True) == pytest.approx(term() / theirs.var().item())


@torch.no_grad()
def test_a_schedule_decides_what_counts_and_what_is_computed():
    student, teacher, _ = pair("coupling")
    x, _ = small_batch(student)
    weights = LossWeights(
        nll=Linear(start=0.5, end=1.0), latent=Cosine(start=0.4, until=0.5), density=Linear(end=2.0)
    )
    objective = Distillation(student, teacher, weights=weights)
    parts = {}
    for progress, expected in (
        (0.0, {"nll": 0.5, "latent": 0.4}),
        (0.25, {"nll": 0.625, "latent": 0.2, "density": 0.5}),
        (0.5, {"nll": 0.75, "density": 1.0}),
    ):
        losses = objective(Batch(x), progress)
        assert set(losses.terms) == set(expected)
        parts |= {key: term.item() for key, term in losses.terms.items()}
        total = sum(weight * parts[key] for key, weight in expected.items())
        assert losses.total.item() == pytest.approx(total)
