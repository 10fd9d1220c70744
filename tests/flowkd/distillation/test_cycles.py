"""Terms of what a student decodes, for one that samples in one pass and its slower teacher."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from flowkd.bijectors import ActNorm, Affine, Bijector, Chain, Permute, Standardize
from flowkd.bijectors.autoregressive import Autoregressive, Inverted
from flowkd.data.batch import Batch
from flowkd.distillation.hints import Hint
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.schedules import LossWeights
from flowkd.distillation.targets import compute_targets
from flowkd.flows.flow import Flow
from flowkd.nn import masked_mlp
from flowkd.training.loop import make_optimizer, train
from flowkd.training.train_config import TrainConfig
from tests.support.small_flows import CONFIGS, randomise, small_batch, small_flow

CYCLES = LossWeights(nll=0, data_cycle=0.6, noise_cycle=0.3, cycle_hints=0.2, reverse_kl=0.4)
HINTS = (Hint(student="step0", teacher="step1"), Hint(student="step1.actnorm", teacher="step2"))
COLUMNS = 3
# Flows that are one pass both ways.
BOTH_WAYS = [name for name in CONFIGS if all(small_flow(name).one_pass.values())]


def autoregressive(depth: int, *, sampling: bool, seed: int) -> Flow:
    """A flow whose one pass is from data to latents, or from latents to data."""
    parts: dict[str, Bijector] = {"preprocess": Standardize(1.0, 2.0)}
    for step in range(depth):
        slow = Autoregressive(masked_mlp(COLUMNS, 2 * COLUMNS, 8), Affine())
        parts[f"step{step}"] = Chain(
            {
                "actnorm": ActNorm(COLUMNS),
                "autoregressive": Inverted(slow) if sampling else slow,
                "mix": Permute(list(reversed(range(COLUMNS)))),
            }
        )
    flow = Flow(Chain(parts), (COLUMNS,)).double()
    randomise(flow, seed=seed, by=0.2)
    return flow


def slow_teacher() -> Flow:
    """One that samples column by column."""
    return autoregressive(3, sampling=False, seed=1)


def fast_student() -> Flow:
    """One that samples in one pass, and encodes column by column."""
    return autoregressive(2, sampling=True, seed=2)


def rows(count: int = 6) -> Batch:
    """Data, the last two of them samples, and noise for the others."""
    generator = torch.Generator().manual_seed(3)
    x, z = torch.randn(2, count, COLUMNS, generator=generator, dtype=torch.float64)
    return Batch(1.0 + 2.0 * x, z=z[:-2], samples=2)


def back(flow: Flow, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Decodes latents bijector by bijector, and returns the states on the way by hand."""
    states: dict[str, Tensor] = {}
    for name, bijector in reversed(list(flow.chain.items())):
        states[name] = z
        if isinstance(bijector, Chain):
            for inner, part in reversed(list(bijector.items())):
                states[f"{name}.{inner}"] = z
                z = part.inverse(z)[0]
        else:
            z = bijector.inverse(z)[0]
    return z, states


@torch.no_grad()
def test_terms_are_what_they_are_defined_to_be() -> None:
    student, teacher, batch = fast_student(), slow_teacher(), rows()
    assert batch.z is not None
    losses = Distillation(student, teacher, HINTS, CYCLES, temperature=0.7)(batch)
    z = 0.7 * batch.z
    decoded, on_way = back(student, teacher(batch.x).z)
    made, of_noise = back(student, z)
    taps = [hint.teacher for hint in HINTS]
    of_data, of_made = teacher(batch.x, taps=taps), teacher(made, taps=taps)

    def guided(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> Tensor:
        pairs = [(ours[hint.student], theirs[hint.teacher]) for hint in HINTS]
        return sum(((a - b) ** 2).mean() for a, b in pairs) / len(pairs)

    first = guided(on_way, {tap: state.h for tap, state in of_data.states.items()})
    second = guided(of_noise, {tap: state.h for tap, state in of_made.states.items()})
    expected = {
        "data_cycle": (((decoded - batch.x) / 2) ** 2).mean(),
        "noise_cycle": ((of_made.z - z) ** 2).mean(),
        "reverse_kl": (student.log_prob(made) - of_made.log_prob).mean() / COLUMNS,
        "cycle_hints": (first + second) / 2,
    }
    assert {name: term.item() for name, term in losses.terms.items()} == pytest.approx(
        {name: term.item() for name, term in expected.items()}
    )
    total = sum(getattr(CYCLES, name) * term.item() for name, term in expected.items())
    assert losses.total.item() == pytest.approx(total)


def test_kept_answers_of_the_teacher_give_the_same_loss() -> None:
    student, teacher, batch = fast_student(), slow_teacher(), rows()
    objective = Distillation(student, teacher, HINTS, CYCLES)
    kept = compute_targets(teacher, batch.x, None, [hint.teacher for hint in HINTS])
    again = Batch(batch.x, z=batch.z, samples=2, targets=kept)
    torch.testing.assert_close(objective(again).total, objective(batch).total)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_a_student_identical_to_its_teacher_has_nothing_to_learn(name: str) -> None:
    teacher = small_flow(name)
    student = copy.deepcopy(teacher)
    taps = [tap for tap, at in teacher.taps.items() if at.parameters]
    hints = [Hint(student=tap, teacher=tap) for tap in taps]
    x, context = small_batch(student)
    z = torch.randn(len(x), student.dimensions, dtype=x.dtype)
    losses = Distillation(student, teacher, hints, CYCLES)(Batch(x, context, z, samples=2))
    assert set(losses.terms) == {"data_cycle", "noise_cycle", "cycle_hints", "reverse_kl"}
    for term, value in losses.terms.items():
        assert abs(value.item()) < 1e-12, term


@pytest.mark.parametrize("term", ["data_cycle", "noise_cycle", "reverse_kl"])
def test_each_term_teaches_every_parameter_and_its_gradient_is_right(term: str) -> None:
    student, batch = fast_student(), rows()
    objective = Distillation(student, slow_teacher(), weights=LossWeights(**{"nll": 0, term: 1}))
    objective(batch).total.backward()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        place = parameter.grad.abs().argmax()
        assert parameter.grad.flatten()[place] != 0, name
        found = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.view(-1)[place] += step
                found.append(objective(batch).total.item())
                parameter.view(-1)[place] -= step
        slope = (found[0] - found[1]) / 2e-6
        assert parameter.grad.flatten()[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_a_student_learns_to_sample_as_its_teacher_does() -> None:
    student, teacher, batch = fast_student(), slow_teacher(), rows(64)
    before = teacher(batch.x).log_prob.sum().item()
    weights = LossWeights(nll=0, data_cycle=1, reverse_kl=1)
    config = TrainConfig(steps=50, learning_rate=0.01, warmup_steps=0)
    objective = Distillation(student, teacher, weights=weights)

    class Same:
        def batch(self, step: int) -> Batch:
            return batch

    optimizer = make_optimizer(student, config)
    terms = [result.terms for result in train(objective, Same(), optimizer, config)]
    assert terms[-1]["data_cycle"] < terms[0]["data_cycle"] / 4
    assert terms[-1]["reverse_kl"] < 0.9 * terms[0]["reverse_kl"]
    assert teacher(batch.x).log_prob.sum().item() == before


@pytest.mark.parametrize(
    ("student", "teacher", "weights", "said"),
    [
        (
            fast_student, slow_teacher, {"nll": 1, "samples": 1, "data_cycle": 1},
            "data_cycle, noise_cycle, reverse_kl; got weights for nll, samples, for which it "
            "encodes rows in 3 passes each",
        ),
        (
            lambda: autoregressive(2, sampling=False, seed=2), slow_teacher,
            {"nll": 1, "reverse_kl": 1},
            "got weights for reverse_kl, for which it decodes in 3 passes each",
        ),
        (
            fast_student, lambda: autoregressive(2, sampling=True, seed=1),
            {"nll": 0, "noise_cycle": 1}, "expected a teacher that encodes rows in one pass",
        ),
        (
            fast_student, slow_teacher, {"nll": 0, "synthesis": 1, "cycle_hints": 1},
            "expected a weight for data_cycle or noise_cycle or reverse_kl",
        ),
    ],
)  # fmt: skip
def test_slow_directions_are_refused(student, teacher, weights, said) -> None:
    given = LossWeights(**weights)
    with pytest.raises(ValueError, match=r"expected") as raised:
        Distillation(student(), teacher(), HINTS if given.ever("cycle_hints") else (), given)
    assert said in str(raised.value)


def test_noise_is_asked_for_by_the_term_that_wants_it() -> None:
    objective = Distillation(
        fast_student(), slow_teacher(), weights=LossWeights(nll=0, reverse_kl=1)
    )
    with pytest.raises(ValueError, match=r"noise z of \(B, D\) for the term 'reverse_kl'"):
        objective(Batch(rows().x))


@pytest.mark.parametrize("reversible", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_decoding_meets_the_states_of_encoding(name: str, reversible: bool) -> None:
    flow = small_flow(name)
    flow.reversible = reversible
    x, context = small_batch(flow)
    there = flow(x, context, list(flow.taps))
    again = flow.decode(there.z, context, list(flow.taps))
    torch.testing.assert_close(again.x, x)
    torch.testing.assert_close(again.log_prob, there.log_prob)
    assert again.states.keys() == there.states.keys() == flow.taps.keys()
    whole = there.log_prob - flow.decode(there.z, context).log_prob
    torch.testing.assert_close(whole, torch.zeros_like(whole), atol=1e-9, rtol=0)
    last = there.states[list(flow.taps)[-1]].log_det
    for tap, state in again.states.items():
        torch.testing.assert_close(state.h, there.states[tap].h)
        # From z to the tap, and from the data to the tap, are the whole way.
        torch.testing.assert_close(there.states[tap].log_det - state.log_det, last)


def test_a_plain_student_of_one_direction_is_still_trained() -> None:
    flow, batch = fast_student(), rows()
    loss = MaximumLikelihood(flow)(batch).total
    loss.backward()
    assert loss.isfinite()
    with pytest.raises(ValueError, match="unknown tap 'nothing'"):
        flow.decode(torch.zeros(1, COLUMNS, dtype=torch.float64), taps=["nothing"])
