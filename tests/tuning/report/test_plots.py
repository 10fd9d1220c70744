"""Properties of what a search's page draws: nothing is left out, nothing is drawn elsewhere."""

import itertools
import math
import re
import uuid

import numpy as np
import pytest

from flowkd.bijectors import Tap
from flowkd.distillation.hints import Hint
from flowkd.store.store import Store
from tests.support.small_runs import furnish
from tests.support.small_searches import searched, small_search
from tuning.report.axes import MAX_LETTERS, Axis, axes_of, shortened, without_switches
from tuning.report.choices_plot import ABSENT, BEGIN, choices_plot, fifths, place_of
from tuning.report.hint_map import hint_map, lay_out
from tuning.report.importance import FEWEST, importances
from tuning.report.plots import MANY, best_so_far, edge_of

CONFIG = small_search("random", algorithm="random")


@pytest.fixture(scope="module")
def trials():
    store = Store(f"memory://{uuid.uuid4().hex}")
    furnish(store)
    return searched(store, CONFIG, 48)


def test_best_so_far_only_falls_and_reaches_the_best(trials):
    numbers, bits = zip(*best_so_far(trials), strict=True)
    assert list(numbers) == sorted(set(numbers))
    assert all(after < before for before, after in itertools.pairwise(bits))
    assert bits[-1] == min(t.bits_per_dim for t in trials if t.state == "finished")
    for number, best in zip(numbers, bits, strict=True):
        until = [t for t in trials if t.start.number <= number and t.state == "finished"]
        assert best == min(trial.bits_per_dim for trial in until)


def test_only_a_few_of_many_lie_beyond_the_edge():
    bits = np.random.default_rng(0).exponential(1.0, 100).tolist()
    beyond = [value for value in bits if value > edge_of(bits)]
    assert 0 < len(beyond) <= 15
    assert edge_of([3.0] * 30) == edge_of(bits[: MANY - 1]) == edge_of([]) == math.inf


def test_importance_finds_what_alone_decides(trials):
    bits = [trial.bits_per_dim if trial.state == "finished" else math.inf for trial in trials]
    found = importances(axes_of(trials, CONFIG.space), bits)
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


def test_axes_hold_what_was_chosen_without_what_was_left(trials):
    axes = {axis.name: axis for axis in axes_of(trials, CONFIG.space)}
    assert axes["learning_rate"].bounds == (0.001, 0.1)
    assert axes["learning_rate"].log
    assert axes["shape.depth"].categories == ["1", "2"]
    chosen = {n.split(" of ")[0] for trial in trials for n in trial.start.params}
    assert set(axes) == chosen
    assert any(" of " in name for trial in trials for name in trial.start.params)
    values = [trial.start.params.get("weights.latent.at") for trial in trials]
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
    assert (short[:6], short[-11:], len(short)) == ("place.", "conditioner", MAX_LETTERS)


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


def test_choices_draw_each_trial_that_has_a_figure_once(trials):
    bits = [trial.bits_per_dim for trial in trials]
    svg = choices_plot(axes_of(trials, CONFIG.space), bits)
    drawn = [int(number) for number in re.findall(r'id="choices-trial-(\d+)"', svg)]
    assert sorted(drawn) == [n for n, value in enumerate(bits) if math.isfinite(value)]
    assert bits[drawn[-1]] == min(bits)  # on top
    assert fifths([4.0, 1.0, math.inf, 2.0, 3.0, 5.0]) == [3, 0, None, 1, 2, 4]


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
