"""What people see of a search: its table, from its own store."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flowkd.store.store import Store
from jobs.cli.main import app
from tuning.gains import gains_in_words, gains_of
from tuning.records import SearchRecords
from tuning.status import Status, read_status, seconds_left, status_table, write_status
from tuning.trial_row import TrialRow

ROWS = [
    TrialRow(0, "finished", 300, 3.25, 4000, "learning_rate=0.003"),
    TrialRow(1, "stopped", 50, 3.5, 4100, "learning_rate=0.001"),
    TrialRow(2, "failed", 10, None, 4200, "a loss became infinite"),
    TrialRow(3, "running", 120, 3.3, 4300, "learning_rate=0.004"),
    TrialRow(4, "finished", 300, 3.2, 4400, "learning_rate=0.005"),
]
GAINS = {"default": None, "plain": None}
STATUS = Status("searching", 20, 300, 100.0, 200.0, 400.0, 4, GAINS, ROWS)


def now(status: Status) -> Status:
    return replace(status, time=time.time())


def shown(status: Status, width: int) -> list[str]:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(status_table(status))
    return capture.get().splitlines()


def test_the_table_tells_how_far_it_is_what_runs_and_what_is_best() -> None:
    heading, _, *lines = shown(now(STATUS), 120)
    assert heading == (
        "searching: 4 of 20 trials, 1 running, 1 stopped, 1 failed, about 7 min left"
    )
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == [3, 4, 0, 1, 2]  # what runs, then from the best to the worst
    assert re.search(r"4 +finished, best +300/300 +3\.2000 +4,400 +learning_rate=0\.005", lines[1])
    assert "a loss became infinite" in lines[4]


FIRST = [
    TrialRow(0, "finished", 300, 3.5, 4000, "the plain student", "plain"),
    TrialRow(1, "finished", 300, 3.25, 4000, "the default distillation", "default"),
]
DRAWN = [replace(row, number=row.number + 2) for row in ROWS]


def test_what_is_gained_over_both_baselines_is_told() -> None:
    assert gains_of([*FIRST, *DRAWN]) == pytest.approx({"default": 0.05, "plain": 0.3})
    told = gains_in_words([*FIRST, *DRAWN])
    assert told == (
        "The best so far is trial 6, with 3.2000 bits per dimension on the validation rows: 0.050 "
        "less than the default distillation and 0.300 less than the plain student."
    )
    assert told in "\n".join(shown(now(replace(STATUS, rows=[*FIRST, *DRAWN])), 250))
    # A candidate that is no better than the default is not the best.
    even = replace(DRAWN[4], bits_per_dim=3.25)
    assert "The best so far is the default distillation" in gains_in_words([*FIRST, even])
    running = [FIRST[0], replace(FIRST[1], state="running", bits_per_dim=3.0)]
    assert gains_of(running) == {"default": None, "plain": 0.0}
    assert "the default distillation has not ended" in gains_in_words(running)
    failed = [FIRST[0], replace(FIRST[1], state="failed", bits_per_dim=None)]
    assert "the default distillation failed" in gains_in_words(failed)
    assert gains_in_words(FIRST[:1])[-1] == "."
    assert gains_in_words([replace(FIRST[0], state="running")]) == ""


def test_baselines_are_always_in_the_table() -> None:
    many = [replace(DRAWN[0], number=n, bits_per_dim=1.0) for n in range(2, 40)]
    lines = shown(now(replace(STATUS, rows=[*FIRST, *many])), 120)
    numbers = [line.split()[0] for line in lines if line.strip()]
    assert {"0", "1"} < set(numbers)


def test_a_search_whose_driver_is_gone_says_so() -> None:
    heading = " ".join(shown(replace(STATUS, time=time.time() - 600), 200)[:1])
    assert heading.endswith("; not heard of for 10 min: --resume goes on with it")
    done = replace(STATUS, time=time.time() - 600, stage="done")
    assert "not heard of" not in "\n".join(shown(done, 200))


def test_a_narrow_table_cuts_the_choices_and_no_figure() -> None:
    for line, row in zip(
        shown(now(STATUS), 70)[2:], sorted(ROWS, key=lambda r: r.number), strict=False
    ):
        assert len(line) <= 70, row
    assert any("300/300" in line and "3.2000" in line for line in shown(now(STATUS), 70))


def test_what_is_left_is_told_as_it_went() -> None:
    assert seconds_left(time.time(), 0, 5) is None
    began = time.time() - 100
    left = seconds_left(began, 4, 20)
    assert left is not None
    assert 400 <= left <= 4 * (time.time() - began)  # 16 of 20 are left: 4 times what it took


def test_a_status_is_read_from_elsewhere(local_store: Store) -> None:
    write_status(SearchRecords(local_store, "one"), STATUS)
    assert read_status(local_store, "one") == STATUS
    runner = CliRunner()
    called = runner.invoke(app, ["search", "status", "one", "--store", local_store.uri, "--json"])
    assert json.loads(called.output)["rows"][4]["bits_per_dim"] == 3.2
    called = runner.invoke(app, ["search", "status", "two", "--store", local_store.uri])
    assert called.exit_code == 1
    assert "no search 'two' in" in called.output
    assert "there are one" in called.output
    assert runner.invoke(app, ["search"]).exit_code == 2
