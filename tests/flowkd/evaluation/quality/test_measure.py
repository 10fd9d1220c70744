"""Properties of the quality of a flow's samples: like is compared with like."""

from __future__ import annotations

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from flowkd.bijectors.transforms import LogTransform
from flowkd.columns import ColumnStep
from flowkd.data.rows import Examples
from flowkd.data.shuffle import seeded_generator
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.quality import Quality, QualityConfig, draw_beside, measure_quality
from flowkd.evaluation.quality.measure import measure_drawn
from flowkd.evaluation.quality.samples import Drawn
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.flow import Flow
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.store.sealed import read_sealed
from flowkd.store.store import Store
from jobs.cli.tables import figures_table
from tests.support.small_flows import small_flow
from tests.support.small_runs import training


def flow_of(name: str) -> Flow:
    return small_flow(name).float()


def own_samples(flow: Flow, count: int, seed: int, context: Tensor | None = None) -> Tensor:
    return flow.sample(count, context, generator=torch.Generator().manual_seed(seed))


def test_samples_of_the_flow_itself_are_told_from_it_by_nothing() -> None:
    flow = flow_of("coupling")
    found = measure_quality(flow, Examples(own_samples(flow, 500, 5)), names=list("abcde"))
    for figure in found.figures.values():
        if figure.alike is not None:
            assert abs(figure.value - figure.alike) < 4 * figure.error
    assert list(found.columns) == list("abcde")
    assert found.worst_column is not None
    assert found.worst_column[1].value < 0.15


def test_the_column_that_is_off_is_named() -> None:
    flow = flow_of("coupling")
    x = own_samples(flow, 300, 5)
    x[:, 2] += 3 * x[:, 2].std()
    found = measure_quality(flow, Examples(x), names=list("abcde"))
    assert found.worst_column is not None
    assert found.worst_column[0] == "c"
    assert found.figures["c2st_auc"].low > 0.8


def test_pictures_are_integers_on_both_sides() -> None:
    flow = flow_of("glow")
    x = own_samples(flow, 200, 5).floor().clamp(0, 255).to(torch.uint8)
    given = draw_beside(flow, Examples(x), 150, bins=256)
    for side in (given.real, given.drawn):
        assert len(side) == 150
        assert (side == np.floor(side)).all()
        assert side.min() >= 0
        assert side.max() <= 255
    found = measure_quality(flow, Examples(x), bins=256)
    assert list(found.columns) == ["channel 0"]
    # Were the samples not rounded, no value of theirs would be a row's.
    assert found.columns["channel 0"].value < 0.1
    assert found.figures["c2st_auc"].low < 0.55


def test_columns_of_steps_are_on_their_grid_on_both_sides() -> None:
    flow = flow_of("coupling")
    steps = [ColumnStep(width=0.5, origin=0.25), *[None] * 4]
    given = draw_beside(flow, Examples(own_samples(flow, 30, 0)), 30, steps=steps)
    places = (given.drawn[:, 0] - 0.25) / 0.5
    np.testing.assert_allclose(places, places.round(), atol=1e-5)
    assert (given.drawn[:, 1:] % 0.5 != 0).all()


def test_every_flow_gets_the_same_rows_and_latents_and_the_rows_contexts() -> None:
    flow = flow_of("glow of classes")
    context = torch.arange(60) % 3
    x = own_samples(flow, 60, 5, context)
    rows = Examples(x, context, group=torch.arange(60) // 2)
    first, again = (draw_beside(flow, rows, 40) for _ in range(2))
    np.testing.assert_array_equal(first.drawn, again.drawn)
    other = draw_beside(flow_of("glow"), rows, 40)  # which has no context
    np.testing.assert_array_equal(first.real, other.real)
    assert first.group is not None
    place = {row.tobytes(): number for number, row in enumerate(x.numpy())}
    chosen = torch.tensor([place[row.tobytes()] for row in first.real])
    assert first.group.tolist() == (chosen // 2).tolist()
    z = flow.forward(torch.from_numpy(first.drawn), context[chosen]).z
    permuted = flow.forward(torch.from_numpy(first.drawn), (context[chosen] + 1) % 3).z
    latents = flow_of("glow").forward(torch.from_numpy(other.drawn)).z
    assert (z - latents).abs().median() < 1e-4
    assert (permuted - latents).abs().median() > 1e-2
    assert (draw_beside(flow, rows, 40, seed=1).drawn != first.drawn).any()


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("columns", [2, 40])
def test_what_does_not_go_with_its_context_is_seen_beside_it_alone(
    classes: int, columns: int
) -> None:
    draw = np.random.default_rng(0)
    context = draw.integers(0, 3, (500, 1)).astype(np.float64)
    x, y = context + draw.normal(size=(2, 500, columns))
    if classes:
        context = (context == np.arange(3)).astype(np.float64)
    order = draw.permutation(500)
    config = QualityConfig(measures=("c2st",))
    for places, sound in ((np.arange(500), True), (order, False)):
        given = Drawn(x, y[places], None, 0, np.arange(500), context)
        found = measure_drawn(given, config).figures
        assert found["c2st_auc"].low < 0.5
        assert (found["c2st_auc_with_context"].low < 0.5) == sound


def test_a_conditional_flow_is_judged_with_its_context_too() -> None:
    flow = flow_of("glow of classes")
    context = torch.arange(100) % 3
    rows = Examples(own_samples(flow, 100, 5, context), context)
    config = QualityConfig(measures=("c2st",))
    found = measure_quality(flow, rows, config).figures
    assert abs(found["c2st_auc_with_context"].value - 0.5) < 0.2
    assert list(measure_quality(flow_of("glow"), rows, config).figures) == ["c2st_auc"]


def test_samples_that_are_not_finite_are_left_out_and_counted() -> None:
    config = CouplingConfig(
        event_shape=(2,), mean=0.0, scale=80.0, transforms=(LogTransform(), None), depth=1, width=4
    )
    flow = build_flow(config, seed=0)  # exp(80 z) is beyond float32 for z above 1.1
    given = draw_beside(flow, Examples(torch.ones(100, 2)), 100)
    assert 0 < given.not_finite < 40
    assert len(given.drawn) == 100 - given.not_finite
    assert len(given.real) == 100
    z = flow.draw_latents(100, generator=seeded_generator(0, "quality/latents"))
    np.testing.assert_allclose(flow.inverse(z).detach()[given.partner], given.drawn, rtol=1e-3)


@pytest.mark.parametrize(
    ("rows", "group", "said"),
    [(12, 12, "at least 20 rows and"), (60, 6, "at least 20 groups of rows and .* got 6 and 60")],
)
def test_too_few_rows_are_told_in_place_of_figures(rows: int, group: int, said: str) -> None:
    flow = flow_of("coupling")
    groups = None if group == rows else torch.arange(rows) % group
    found = measure_quality(flow, Examples(own_samples(flow, rows, 5), group=groups))
    assert not found.figures
    assert not found.columns
    assert found.note is not None
    assert re.search(said, found.note)


def test_an_evaluation_keeps_the_quality_and_prints_it(
    taught_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EvaluationConfig(
        name="e", flows={"teacher": "runs/teacher"}, dataset=training("a").dataset, seconds=0.02
    )
    found = evaluate(config, taught_store)
    kept = read_sealed(taught_store, "evaluations", "e.json")
    assert {label: FlowFigures.read(values) for label, values in kept.items()} == found
    quality = found["teacher"].quality
    assert quality is not None
    assert 0.4 < quality.figures["c2st_auc"].value <= 1
    assert quality.figures["c2st_auc"].samples == 40
    figures_table(found)
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if "teacher" in line]
    assert f"{quality.figures['c2st_auc'].value:.3f} ± " in lines[-1]
    assert "40 samples beside 40 rows" in printed
    publish_run(
        PublishConfig(model="m", source="runs/teacher", evaluation="e", force=True), taught_store
    )
    test = load_artifact(taught_store, "models/m@best").metrics["test"]
    assert test["c2st_auc"] == quality.figures["c2st_auc"].value
    assert "quality" not in test
    without = evaluate(config.model_copy(update={"quality": None}), taught_store)
    assert without["teacher"].quality is None


def test_measures_are_chosen_and_others_are_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flow = flow_of("coupling")
    config = QualityConfig(samples=50, measures=("sliced_wasserstein",))
    found = measure_quality(flow, Examples(own_samples(flow, 60, 5)), config)
    assert list(found.figures) == ["sliced_wasserstein"]
    assert not found.columns
    assert Quality.read(asdict(found)) == found
    figures = FlowFigures("runs/a", 1.0, 0.1, 10, 1.0, 1.0, 1, 1e-6, quality=found)
    unknown = replace(figures, quality=Quality(not_finite=3, note="too few"))
    figures_table({"a": figures, "b": unknown})
    printed = capsys.readouterr().out
    assert "sliced Wasserstein" in printed
    assert "C2ST" not in printed
    assert "KS" not in printed
    assert "samples of b were not compared with data: too few" in printed
    assert "3 samples of b are not finite" in printed
