"""Properties of a search's report: it shows every trial as it is, and works for any search."""

import io
import math
import re
import uuid
from dataclasses import asdict, replace

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from flowkd.evaluation.figures import FlowFigures
from flowkd.store.store import Store
from jobs.cli.main import app
from tests.support.figures import figures_on, flows
from tests.support.pages import Page, assert_stands_alone
from tests.support.small_runs import furnish
from tests.support.small_searches import SPACE, searched, small_search
from tuning.records import SearchRecords, TrialEnd
from tuning.report.page import MAPS, render_search, write_report
from tuning.report.rows import ROWS
from tuning.report.tables import trials_parquet

HOSTILE = "</dd><script>alert('\"x&')</script><img src=http://evil/x onerror=y>$\\frac{1}$"
FIGURES = FlowFigures("runs/teacher", 3.3, 0.01, 400_000, 1000.0, 900.0, 1800, 2e-6)
NO_HINTS = {name: part for name, part in SPACE.items() if name != "hints"} | {"weights": {"nll": 1}}
PLAIN = {"low": 0.1, "high": 1}
TWO_SHAPES = SPACE | {"shape": {"depth": [1, 2]}}  # each is timed for a second
SEARCHES = {
    "random": (small_search("random", algorithm="random"), 48, "fffs.x"),
    "grid": (small_search("grid", algorithm="grid", space=NO_HINTS), 15, "ffs"),
    "population": (
        small_search(
            "population", algorithm="pbt", space=NO_HINTS | {"weights": {"latent": PLAIN}}
        ),
        3,
        "f",
    ),
    "no hints": (small_search("no-hints", space=NO_HINTS), 16, "fs"),
    "two objectives": (
        small_search("two", objectives=["bits_per_dim", "throughput"], space=TWO_SHAPES),
        14,
        "f",
    ),
    "none finished": (small_search("none-finished"), 6, "sx."),
    "all failed": (small_search("all-failed"), 3, "x"),
    "none ended": (small_search("none-ended"), 3, "."),
    "none begun": (small_search("none-begun"), 0, "f"),
    "one": (small_search("one"), 1, "f"),
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
        write_report(config, SearchRecords(store, config.name), found[name], None)
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
    return store.read(SearchRecords(store, SEARCHES[name][0].name).folder, "report.html").decode()


def table_of(store, name, file):
    data = store.read(SearchRecords(store, SEARCHES[name][0].name).folder, file)
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
    assert [row["number"] for row in rows] == [trial.start.number for trial in trials]
    for row, trial in zip(rows, trials, strict=True):
        chosen = {key.removeprefix("choice."): row[key] for key in row if key.startswith("choice.")}
        assert {key: value for key, value in chosen.items() if value is not None} == (
            trial.start.params
        )
        assert yaml.safe_load(row["config"]) == trial.start.training
        bits = trial.bits_per_dim if math.isfinite(trial.bits_per_dim) else None
        assert (row["state"], row["bits_per_dim"]) == (trial.state, bits)
        assert (row["parameters"], row["throughput"]) == (
            trial.start.parameter_count,
            trial.start.throughput,
        )
        ended = trial.end or TrialEnd("begun", seconds=None)
        assert (row["seconds"], row["reason"] or "") == (ended.seconds, ended.reason)
        assert row["steps"] == (ended.curve[-1][0] if ended.curve else 0)
    curves = [tuple(row.values()) for row in table_of(store, name, "curves.parquet")]
    assert curves == [
        (trial.start.number, *point) for trial in trials if trial.end for point in trial.end.curve
    ]


def test_equal_searches_give_equal_pages(store, trials_of):
    config = SEARCHES["random"][0]
    assert render_search(config, store, trials_of["random"], None) == page_of(store, "random")


def test_hostile_text_is_shown_as_it_is(store, trials_of):
    config, trials = SEARCHES["random"][0], list(trials_of["random"])
    trials[0] = replace(trials[0], end=TrialEnd("failed", [], 1.0, HOSTILE))
    trials[1] = replace(trials[1], start=replace(trials[1].start, params={HOSTILE: HOSTILE}))
    page = assert_stands_alone(render_search(config, store, trials, outcome(HOSTILE)))
    assert page.text.count(HOSTILE) >= 3


def test_the_page_tells_the_outcome(store, trials_of):
    config, trials = SEARCHES["random"][0], trials_of["random"]
    published = Page(render_search(config, store, trials, outcome())).text
    assert "has 24% of the teacher's parameters and 3.400 ± 0.010 bits per dimension" in published
    assert "It is published as models/small@20260101T000000-abcdef." in published
    refused = Page(render_search(config, store, trials, outcome("it is no better"))).text
    assert "It is not published: it is no better." in refused
    assert "published as" not in refused


def test_what_must_be_known_before_is_told_first(store, trials_of):
    config, trials = SEARCHES["random"][0], trials_of["random"]
    compared = figures_on(flows(3.4, 3.3, 3.2, 2), flows(3.0, 3.3, 3.2, 2))
    values = {role: asdict(each) for role, each in compared.items()}
    page = Page(render_search(config, store, trials, {**outcome(), "figures": values})).text
    first = page.index("The teacher is no better than the plain student on test: 3.400 against")
    assert first < page.index("The splits put the flows in different orders")
    assert page.index("in different orders") < page.index("The best student has")
    assert "Distillation gained 0.100 ± " in page
    assert "Only 6 rows in 2 groups in validation" in page
    assert "What to do next" in page
    assert "make the teacher deeper or wider" in page


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
    table = page[page.index("The best trials") :]
    assert re.findall(r"<td>(\d\.\d{4})</td>", table) == [f"{bits:.4f}" for bits in finished[:ROWS]]
    best = next(t for t in trials if t.bits_per_dim == finished[0])
    rate = best.start.params["learning_rate"]
    assert f"<span>learning_rate <b>{rate:.3g}</b></span>" in page
    failed = [trial.end.reason for trial in trials if trial.state == "failed"]
    assert len(failed) == 8
    assert all(f"<dd>{reason}</dd>" in page for reason in failed)


def test_the_map_draws_each_hint_once(store, trials_of):
    page = page_of(store, "random")
    best = sorted(
        (t for t in trials_of["random"] if t.state == "finished"), key=lambda t: t.bits_per_dim
    )
    for trial in best[:MAPS]:
        hints = trial.start.training["objective"].get("hints", [])
        drawn = re.findall(rf'id="hints-{trial.start.number}-hint-(\d+)"', page)
        assert sorted(map(int, drawn)) == list(range(len(hints)))
        told = "; ".join(f"{hint['student']} learns from {hint['teacher']}" for hint in hints)
        assert f'aria-label="Hints: {told or "none"}"' in page
    assert any(trial.start.training["objective"].get("hints") for trial in best[:MAPS])
    assert "hints-" not in page_of(store, "no hints")


def test_a_report_is_written_before_the_end(local_store):
    furnish(local_store)
    config = small_search("unfinished")
    searched(local_store, config, 4, "fs.x")
    call = ["search", "report", "unfinished", "--store", local_store.uri]
    assert CliRunner().invoke(app, call).exit_code == 0
    page = local_store.read(SearchRecords(local_store, "unfinished").folder, "report.html").decode()
    assert page == render_search(
        config, local_store, SearchRecords(local_store, "unfinished").trials(), None
    )
    called = CliRunner().invoke(app, ["search", "report", "x", "--store", local_store.uri])
    assert (called.exit_code, "there are unfinished" in called.output) == (1, True)


def test_the_config_of_a_population_is_the_one_that_can_be_trained_again(trials_of):
    trial = trials_of["population"][0]
    followed = {**trial.start.training, "seed": 7}
    ended = replace(trial, end=replace(trial.end, training=followed))
    [row] = pq.read_table(io.BytesIO(trials_parquet([ended]))).to_pylist()
    assert yaml.safe_load(row["config"]) == followed
