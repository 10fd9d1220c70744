"""Properties of a search's report: it shows every trial as it is, and works for any search."""

import io
import itertools
import math
import re
import uuid
from dataclasses import asdict, replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from pages import Page, assert_stands_alone
from small_runs import furnish
from small_searches import SPACE, searched, searching

from flowkd.bijectors import Tap
from flowkd.evaluation import FlowFigures
from flowkd.hints import Hint
from flowkd.store import Store
from tuning.axes import LONG, Axis, axes_of, shortened, without_switches
from tuning.choices_plot import ABSENT, BEGIN, choices_plot, fifths, place_of
from tuning.hint_map import hint_map, lay_out
from tuning.importance import FEWEST, importances
from tuning.plots import Point, best_so_far, front
from tuning.records import Ended
from tuning.report import MAPS, ROWS, render, write_report

HOSTILE = "</dd><script>alert('\"x&')</script><img src=http://evil/x onerror=y>$\\frac{1}$"
FIGURES = FlowFigures("runs/teacher", 3.3, 0.01, 400_000, 1000.0, 900.0, 1800, 2e-6)
NO_HINTS = {name: part for name, part in SPACE.items() if name != "hints"} | {"weights": {"nll": 1}}
TWO_SHAPES = SPACE | {"shape": {"steps": [1, 2]}}  # each is timed for a second
SEARCHES = {
    "random": (searching("random", algorithm="random"), 48, "fffs.x"),
    "grid": (searching("grid", algorithm="grid", space=NO_HINTS), 15, "ffs"),
    "no hints": (searching("no-hints", space=NO_HINTS), 16, "fs"),
    "two objectives": (
        searching("two", objectives=["bits_per_dim", "throughput"], space=TWO_SHAPES),
        14,
        "f",
    ),
    "none finished": (searching("none-finished"), 6, "sx."),
    "all failed": (searching("all-failed"), 3, "x"),
    "none ended": (searching("none-ended"), 3, "."),
    "none begun": (searching("none-begun"), 0, "f"),
    "one": (searching("one"), 1, "f"),
}


@pytest.fixture(scope="module")
def store():
    store = Store(f"memory://{uuid.uuid4().hex}")
    furnish(store)
    return store


@pytest.fixture(scope="module")
def trials_of(store):
    found = {name: searched(store, *arguments) for name, arguments in SEARCHES.items()}
    for name, (config, _, _) in SEARCHES.items():
        write_report(config, store, found[name], None)
    return found


def outcome(refused=None):
    small = replace(FIGURES, parameters=96_000, bits_per_dim=3.5)
    figures = {
        "teacher": FIGURES,
        "plain": small,
        "distilled": replace(small, bits_per_dim=3.4),
    }
    return {
        "trial": 0,
        "figures": {label: asdict(each) for label, each in figures.items()},
        "refused": refused,
        "published": None if refused else "models/small@20260101T000000-abcdef",
    }


def page_of(store, name):
    return store.read("searches", SEARCHES[name][0].name, "report.html").decode()


def table_of(store, name, file):
    data = store.read("searches", SEARCHES[name][0].name, file)
    return pq.read_table(io.BytesIO(data)).to_pylist()


@pytest.mark.parametrize("name", SEARCHES)
def test_the_page_stands_alone(store, trials_of, name):
    page = assert_stands_alone(page_of(store, name))
    style, rest = page_of(store, name).split("</style>")
    for color in set(re.findall(r"(?:stroke|fill): var\((--[\w-]+)\)", rest)):
        assert style.count(f"{color}:") == 2  # in the light and in the dark
    plots = [attrs for tag, attrs in page.elements if tag == "svg"]
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in plots)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_tables_hold_every_trial_and_choice(store, trials_of, name):
    trials = trials_of[name]
    rows = table_of(store, name, "trials.parquet")
    assert [row["number"] for row in rows] == [trial.begun.number for trial in trials]
    for row, trial in zip(rows, trials, strict=True):
        chosen = {key.removeprefix("choice."): row[key] for key in row if key.startswith("choice.")}
        assert {key: value for key, value in chosen.items() if value is not None} == (
            trial.begun.parameters
        )
        assert yaml.safe_load(row["config"]) == trial.begun.training
        bits = trial.bits_per_dim if math.isfinite(trial.bits_per_dim) else None
        assert (row["state"], row["bits_per_dim"]) == (trial.state, bits)
        assert (row["parameters"], row["throughput"]) == (trial.begun.size, trial.begun.throughput)
        ended = trial.ended or Ended("begun", seconds=None)
        assert (row["seconds"], row["reason"] or "") == (ended.seconds, ended.reason)
        assert row["steps"] == (ended.curve[-1][0] if ended.curve else 0)
    curves = [tuple(row.values()) for row in table_of(store, name, "curves.parquet")]
    assert curves == [
        (trial.begun.number, *point)
        for trial in trials
        if trial.ended
        for point in trial.ended.curve
    ]


def test_equal_searches_give_equal_pages(store, trials_of):
    config = SEARCHES["random"][0]
    assert render(config, store, trials_of["random"], None) == page_of(store, "random")


def test_hostile_text_is_shown_as_it_is(store, trials_of):
    config, trials = SEARCHES["random"][0], list(trials_of["random"])
    trials[0] = replace(trials[0], ended=Ended("failed", [], 1.0, HOSTILE))
    trials[1] = replace(trials[1], begun=replace(trials[1].begun, parameters={HOSTILE: HOSTILE}))
    page = assert_stands_alone(render(config, store, trials, outcome(HOSTILE)))
    assert page.text.count(HOSTILE) >= 3


def test_the_page_tells_the_outcome(store, trials_of):
    config, trials = SEARCHES["random"][0], trials_of["random"]
    published = Page(render(config, store, trials, outcome())).text
    assert "has 24% of the teacher's parameters and 3.400 bits per dimension" in published
    assert "It is published as models/small@20260101T000000-abcdef." in published
    refused = Page(render(config, store, trials, outcome("it is no better"))).text
    assert "It is not published: it is no better." in refused
    assert "published as" not in refused


def test_the_page_tells_that_nothing_was_concluded(store, trials_of):
    for name, (_, count, states) in SEARCHES.items():
        text = Page(page_of(store, name)).text
        assert "Nothing " in text
        if count and "f" not in states:
            assert f"none of {count} trials was trained to its end" in text


def test_the_page_names_the_best_and_the_failed(store, trials_of):
    trials = trials_of["random"]
    page = page_of(store, "random")
    finished = sorted(t.bits_per_dim for t in trials if t.state == "finished")
    assert re.findall(r"<td>(\d\.\d{4})</td>", page) == [f"{bits:.4f}" for bits in finished[:ROWS]]
    failed = [trial.ended.reason for trial in trials if trial.state == "failed"]
    assert len(failed) == 8
    assert all(f"<dd>{reason}</dd>" in page for reason in failed)


def test_best_so_far_only_falls_and_reaches_the_best(trials_of):
    trials = trials_of["random"]
    numbers, bits = zip(*best_so_far(trials), strict=True)
    assert list(numbers) == sorted(set(numbers))
    assert all(after < before for before, after in itertools.pairwise(bits))
    assert bits[-1] == min(t.bits_per_dim for t in trials if t.state == "finished")
    for number, best in zip(numbers, bits, strict=True):
        until = [t for t in trials if t.begun.number <= number and t.state == "finished"]
        assert best == min(trial.bits_per_dim for trial in until)


@pytest.mark.parametrize("seed", range(20))
def test_front_is_what_no_other_beats(seed):
    generator = np.random.default_rng(seed)
    pairs = generator.integers(0, 8, (generator.integers(0, 30), 2)).tolist()
    points = [Point(number, *map(float, pair)) for number, pair in enumerate(pairs)]

    def beaten(one):
        return any(
            other.bits <= one.bits and other.cost <= one.cost and other[1:] != one[1:]
            for other in points
        )

    assert set(front(points)) == {point for point in points if not beaten(point)}


def test_importance_finds_what_alone_decides(trials_of):
    trials, space = trials_of["random"], SEARCHES["random"][0].space
    bits = [trial.bits_per_dim if trial.state == "finished" else math.inf for trial in trials]
    found = importances(axes_of(trials, space), bits)
    assert found[0].name == "learning_rate"
    assert found[0].share > 2 * found[1].share
    assert found[0].share > found[0].chance
    assert math.isclose(sum(each.share for each in found), 1.0)
    assert all(each.trials <= sum(map(math.isfinite, bits)) for each in found)


def test_importance_of_what_only_some_have_rests_on_those():
    generator = np.random.default_rng(0)
    rates = tuple(generator.uniform(0, 1, 60).tolist())
    some = tuple(value if n % 2 else None for n, value in enumerate(rates))
    few = tuple(value if n < FEWEST - 1 else None for n, value in enumerate(rates))
    failed = [math.inf if n < 10 else value for n, value in enumerate(rates)]
    axes = [
        Axis(name, values, (0.0, 1.0), False) for name, values in (("some", some), ("few", few))
    ]
    [only] = importances(axes, failed)
    assert (only.name, only.trials) == ("some", 25)
    assert importances(axes, failed[: FEWEST - 1] + [math.inf] * (61 - FEWEST)) == []


def test_axes_hold_what_was_chosen_without_what_was_left(trials_of):
    trials, space = trials_of["random"], SEARCHES["random"][0].space
    axes = {axis.name: axis for axis in axes_of(trials, space)}
    assert axes["learning_rate"].bounds == (0.001, 0.1)
    assert axes["learning_rate"].log
    assert axes["shape.steps"].categories == ["1", "2"]
    chosen = {n.split(" of ")[0] for trial in trials for n in trial.begun.parameters}
    assert set(axes) == chosen
    assert any(" of " in name for trial in trials for name in trial.begun.parameters)
    values = [trial.begun.parameters.get("weights.latent.at") for trial in trials]
    assert list(axes["weights.latent.at"].values) == values
    left_out = set(axes) - {axis.name for axis in without_switches(list(axes.values()))}
    assert left_out == {"weights.latent", *(name for name in axes if name.startswith("hint."))}


def test_a_switch_stays_where_it_says_more():
    def names(at):
        switch = Axis("weights.latent", ("on", "off", "off"), None, log=False)
        both = [switch, Axis("weights.latent.at", at, (0.1, 1.0), log=True)]
        return [axis.name for axis in without_switches(both)]

    assert names((0.5, None, None)) == ["weights.latent.at"]
    assert names((0.5, 0.2, None)) == ["weights.latent", "weights.latent.at"]


def test_a_long_name_keeps_its_ends():
    assert shortened("place.level0.step10") == "place.level0.step10"
    short = shortened("place.level0.step10.coupling.conditioner")
    assert (short[:6], short[-11:], len(short)) == ("place.", "conditioner", LONG)


def test_places_on_an_axis():
    rate = Axis("learning_rate", (0.01,), (0.001, 0.1), log=True)
    assert place_of(rate, 0.001) == BEGIN
    assert place_of(rate, 0.1) == pytest.approx(1)
    assert place_of(rate, 0.01) == pytest.approx((1 + BEGIN) / 2)
    assert place_of(rate, None) == ABSENT
    width = Axis("shape.width", ("8", "16", "4"), None, log=False)
    middles = [place_of(width, value) for value in ("4", "8", "16")]
    assert middles == sorted(middles)
    for offset in (-1.0, 1.0):  # lines of one category never reach another, nor those absent
        assert all(
            abs(place_of(width, v, offset) - m) < 0.15 for v, m in zip("48", middles, strict=False)
        )
        assert place_of(width, None, offset) < BEGIN < place_of(width, "4", offset)


def test_choices_draw_each_trial_that_has_a_figure_once(trials_of):
    trials, space = trials_of["random"], SEARCHES["random"][0].space
    bits = [trial.bits_per_dim for trial in trials]
    svg = choices_plot(axes_of(trials, space), bits)
    drawn = [int(number) for number in re.findall(r'id="choices-trial-(\d+)"', svg)]
    assert sorted(drawn) == [n for n, value in enumerate(bits) if math.isfinite(value)]
    assert bits[drawn[-1]] == min(bits)  # on top
    assert fifths([4.0, 1.0, math.inf, 2.0, 3.0, 5.0]) == [3, 0, None, 1, 2, 4]


def test_the_map_draws_each_hint_once(store, trials_of):
    page = page_of(store, "random")
    best = sorted(
        (t for t in trials_of["random"] if t.state == "finished"), key=lambda t: t.bits_per_dim
    )
    for trial in best[:MAPS]:
        hints = trial.begun.training["objective"]["hints"]
        drawn = re.findall(rf'id="hints-{trial.begun.number}-hint-(\d+)"', page)
        assert sorted(map(int, drawn)) == list(range(len(hints)))
        told = "; ".join(f"{hint['student']} learns from {hint['teacher']}" for hint in hints)
        assert f'aria-label="Hints: {told or "none"}"' in page
    assert any(trial.begun.training["objective"]["hints"] for trial in best[:MAPS])
    assert "hints-" not in page_of(store, "no hints")


def test_the_map_joins_the_very_taps():
    teacher = {f"level{n}.step{k}": Tap((4, 2, 2), 4, 1) for n in range(3) for k in range(32)}
    student = {f"level{n}.step{k}": Tap((4, 2, 2), 4, 1) for n in range(3) for k in range(2)}
    pairs = {
        "level0.step0": "level0.step31",
        "level1.step0": "level0.step3",
        "level2.step1": "level2.step7",
    }
    hints = [Hint(student=ours, teacher=theirs) for ours, theirs in pairs.items()]
    layout = lay_out(teacher, student)
    for flow, taps in ((layout.teacher, teacher), (layout.student, student)):
        heights = [flow[tap].y for tap in taps]
        assert heights == sorted(set(heights))
        assert 0 < heights[0] < heights[-1] < layout.height
    svg = hint_map("map", teacher, student, hints)
    line = r'id="map-hint-(\d)">\s*<path d="M [\d.]+ ([\d.]+) \s*L [\d.]+ ([\d.]+)'
    drawn = {
        int(number): (float(left), float(right)) for number, left, right in re.findall(line, svg)
    }
    assert sorted(drawn) == [0, 1, 2]
    wanted = [(layout.teacher[h.teacher].y, layout.student[h.student].y) for h in hints]
    ys, expected = np.ravel([drawn[n] for n in range(3)]), np.ravel(wanted)
    slope, offset = np.polyfit(expected, ys, 1)
    assert 0.8 < slope <= 1
    assert np.abs(slope * expected + offset - ys).max() < 0.01
    named = re.findall(r">(step\d+|level\d \(.*?\))<", svg)
    levels = [f"level{n} (4 x 2 x 2)" for n in range(3)]
    assert sorted(named) == sorted([*levels, "step0", "step0", "step1", "step3", "step31", "step7"])
