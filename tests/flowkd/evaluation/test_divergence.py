"""Divergences and the effective sample size of flows, against what is known of Gaussians."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor

from flowkd.bijectors import ActNorm, Chain, Standardize
from flowkd.data.rows import Examples
from flowkd.evaluation.divergence import (
    Divergence,
    DivergenceConfig,
    comparable,
    measure_divergence,
)
from flowkd.evaluation.figures import FlowFigures
from flowkd.flows.autoregressive import AutoregressiveConfig, decoded_by_jacobi
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Encoding, Flow
from flowkd.report.comparison import comparison_table
from tests.support.small_flows import randomise, small_batch, small_flow

COLUMNS = 3
ROWS = Examples(torch.zeros(10, COLUMNS))


def gaussian(mean: float = 0.0, scale: float = 1.0) -> Flow:
    """Independent columns of one mean and scale."""
    parts = {"preprocess": Standardize(mean, scale), "actnorm": ActNorm(COLUMNS)}
    return Flow(Chain(parts), (COLUMNS,)).double()


def kl(mean: float, scale: float, to_mean: float, to_scale: float) -> float:
    """Of one Gaussian from another, in nats, over all columns."""
    ratio = scale / to_scale
    return COLUMNS * (-math.log(ratio) + (ratio**2 + ((mean - to_mean) / to_scale) ** 2 - 1) / 2)


@pytest.mark.parametrize(("mean", "scale"), [(0.3, 1.0), (0.0, 1.3), (-0.2, 0.9)])
def test_divergences_of_gaussians_are_theirs(mean: float, scale: float) -> None:
    found = measure_divergence(
        gaussian(mean, scale), gaussian(), ROWS, DivergenceConfig(samples=5000)
    )
    for figure, expected in (
        (found.from_teacher, kl(0, 1, mean, scale)),
        (found.to_teacher, kl(mean, scale, 0, 1)),
    ):
        assert abs(figure.estimate - expected) < 4 * figure.error
        assert 0 < figure.error < 0.04
        assert figure.high - figure.low == pytest.approx(2 * 1.96 * figure.error, rel=1e-3)
    assert found.left_out == 0
    assert found.samples == 5000


@pytest.mark.parametrize("mean", [0.1, 0.4])
def test_the_effective_size_of_a_shifted_gaussian_is_known(mean: float) -> None:
    config = DivergenceConfig(samples=5000)
    found = measure_divergence(gaussian(mean), gaussian(), ROWS, config).effective
    assert found.estimate == pytest.approx(math.exp(-COLUMNS * mean**2), abs=4 * found.error)
    assert found.low < found.estimate < found.high
    assert found.error < 0.06


def test_equal_flows_are_no_way_apart() -> None:
    found = measure_divergence(gaussian(), gaussian(), ROWS)
    assert found.from_teacher.estimate == found.to_teacher.estimate == 0
    assert found.effective.estimate == pytest.approx(1)


def test_a_wider_interval_for_fewer_samples() -> None:
    few, many = (
        measure_divergence(gaussian(0.3), gaussian(), ROWS, DivergenceConfig(samples=count))
        for count in (200, 5000)
    )
    for name in ("from_teacher", "to_teacher", "effective"):
        assert getattr(few, name).error > 2 * getattr(many, name).error, name


@pytest.mark.parametrize("name", ["coupling of classes", "coupling of a vector"])
def test_flows_are_compared_given_the_contexts_of_the_rows(name: str) -> None:
    student, teacher = small_flow(name, seed=1), small_flow(name, seed=2)
    x, context = small_batch(student, rows=1)
    assert context is not None
    config = DivergenceConfig(samples=100)
    found = measure_divergence(student, teacher, Examples(x, context), config)
    generator = torch.Generator().manual_seed(0)
    y = teacher.sample(20_000, context.repeat(20_000, *[1] * (context.dim() - 1)),
                       generator=generator)  # fmt: skip
    given = context.repeat(len(y), *[1] * (context.dim() - 1))
    with torch.no_grad():
        direct = (teacher.log_prob(y, given) - student.log_prob(y, given)).mean().item()
    assert abs(found.from_teacher.estimate - direct) < 4 * found.from_teacher.error


class Cut(Flow):
    """A flow whose density is NaN above 2 in the first column."""

    def forward(self, x: Tensor, *args: object, **options: object) -> Encoding:
        made = super().forward(x)
        return replace(made, log_prob=made.log_prob.masked_fill(x[:, 0] > 2, math.nan))


def test_samples_of_no_density_are_left_out_and_counted() -> None:
    student = Cut(gaussian().chain, (COLUMNS,))
    found = measure_divergence(student, gaussian(), ROWS)
    assert 50 < found.left_out < 150  # 2 x 2000, of which 2.3% are above 2
    assert found.effective.estimate == pytest.approx(1 - found.left_out / 4000, abs=0.01)


def test_only_tables_of_the_same_context_are_compared() -> None:
    table, classes = small_flow("coupling"), small_flow("coupling of classes")
    assert comparable(table, small_flow("coupling", seed=4))
    assert not comparable(table, classes)
    assert not comparable(small_flow("glow"), small_flow("glow"))


def test_figures_are_kept_and_shown_with_their_samples() -> None:
    found = measure_divergence(gaussian(0.3), gaussian(), ROWS)
    assert Divergence.read(asdict(found)) == found
    teacher = FlowFigures("runs/a", 1.0, 0.1, 100, 1.0, 1.0, 1, 1e-6)
    student = replace(teacher, divergence=found)
    assert FlowFigures.read(asdict(student)) == student
    rows = {row.name: row for row in comparison_table({"teacher": teacher, "student": student})}
    shown = rows["KL from"].cells
    assert shown[0].value == ""
    assert shown[1].value == f"{found.from_teacher.estimate:.3f}"
    assert shown[1].note == f"{found.from_teacher.low:.3f} to {found.from_teacher.high:.3f}"
    assert rows["KL to"].cells[1].value == f"{found.to_teacher.estimate:.3f}"
    assert rows["effective samples"].cells[1].value == f"{found.effective.estimate:.0%}"
    assert all("2,000 samples" in rows[name].meaning for name in ("KL from", "effective samples"))
    assert "KL from" not in {row.name for row in comparison_table({"teacher": teacher})}


def test_samples_by_iterations_have_a_row_beside_those_column_by_column() -> None:
    student = FlowFigures("runs/b", 1.0, 0.1, 10, 900.0, 800.0, 1, 1e-6)
    teacher = replace(student, samples_per_second=20.0, jacobi_per_second=50.0)
    rows = {row.name: row for row in comparison_table({"teacher": teacher, "student": student})}
    shown = rows["samples/s by jacobi"]
    assert [(cell.value, cell.note) for cell in shown.cells] == [("50", "2.5x"), ("", "")]
    assert "samples/s by jacobi" not in {row.name for row in comparison_table({"a": student})}


def test_iterations_find_the_same_samples() -> None:
    config = AutoregressiveConfig(event_shape=(4,), mean=0.0, scale=1.0, depth=2, width=12)
    flow = build_flow(config)
    randomise(flow, by=0.1)
    fixed = decoded_by_jacobi(flow)
    assert fixed is not None
    z = flow.draw_latents(20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(fixed.inverse(z), flow.inverse(z), atol=1e-3, rtol=1e-3)
    assert decoded_by_jacobi(fixed) is None
    assert decoded_by_jacobi(small_flow("coupling")) is None
    sampling = build_flow(config.model_copy(update={"direction": "sampling"}))
    assert decoded_by_jacobi(sampling) is None
