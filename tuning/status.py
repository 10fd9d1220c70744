"""The status of a search: written to the store while it runs, and shown as a table."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from flowkd.errors import ConfigError
from flowkd.store.store import Store
from tuning.gains import gains_in_words
from tuning.records import SearchRecords, search_names
from tuning.trial_row import TrialRow

TABLE_ROWS = 12
SILENT_SECONDS = 120.0  # without news; a store may be away for as long


@dataclass(frozen=True)
class Status:
    """How far a search is.

    Attributes:
        stage: `searching`, `training the best`, `done`, or what went wrong.
        trials: Number of trials when all have begun.
        steps: Steps of a whole trial.
        began: When the search began or was resumed, in seconds since 1970.
        time: When this was written, in seconds since 1970.
        seconds_left: Estimate from the trials that have ended; None if none has.
        best: Number of the best finished trial, or None.
        gains: By how many bits per dimension it is better than each baseline, on the validation
            rows: `plain`, the student without a teacher, and `default`, the distillation with
            nothing set. None where that is not known yet, or the baseline failed.
        rows: The trials that have begun.
        outcome: As `conclude` returns it, once it is known.
    """

    stage: str
    trials: int
    steps: int
    began: float
    time: float
    seconds_left: float | None = None
    best: int | None = None
    gains: dict[str, float | None] = field(default_factory=dict)
    rows: list[TrialRow] = field(default_factory=list)
    outcome: dict[str, Any] | None = None


def write_status(records: SearchRecords, status: Status) -> None:
    """Writes the status of a search."""
    records.write(asdict(status), "status.json")


def read_status(store: Store, name: str) -> Status:
    """Returns the status of a search; raises ConfigError if there is no such search."""
    values = SearchRecords(store, name).read("status.json")
    if values is None:
        raise no_search(store, name)
    return Status(**{**values, "rows": [TrialRow(**row) for row in values["rows"]]})


def no_search(store: Store, name: str) -> ConfigError:
    """Returns the error for a search that is not there, with those that are."""
    known = ", ".join(search_names(store)) or "none"
    return ConfigError(f"no search {name!r} in {store.uri}; there are {known}")


def status_table(status: Status) -> Group:
    """Returns the status as a heading and a table of trials, for a terminal."""
    states = Counter(row.state for row in status.rows)
    ended = sum(count for state, count in states.items() if state != "running")
    heading = f"{status.stage}: {ended} of {status.trials} trials"
    for name in ("running", "stopped", "failed"):
        heading += f", {states[name]} {name}" if states[name] else ""
    if status.stage == "searching" and status.seconds_left is not None:
        heading += f", about {_duration(status.seconds_left)} left"
    silent = time.time() - status.time
    if status.stage == "searching" and silent > SILENT_SECONDS:
        heading += f"; not heard of for {_duration(silent)}: --resume goes on with it"
    shown = Table(box=None, pad_edge=False, expand=True)
    for column in ("trial", "state", "step", "bits/dim", "parameters"):
        width = max(len(column), 14 if column == "state" else 8)
        justify: JustifyMethod = "left" if column == "state" else "right"
        shown.add_column(column, justify=justify, no_wrap=True, min_width=width)
    shown.add_column("chosen", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in _most_telling(status):
        bits = "" if row.bits_per_dim is None else f"{row.bits_per_dim:.4f}"
        state = f"{row.state}, best" if row.number == status.best else row.state
        step = f"{row.step}/{status.steps}"
        style = "bold" if row.number == status.best else ""
        shown.add_row(
            str(row.number),
            state,
            step,
            bits,
            f"{row.parameter_count:,}",
            Text(row.note),
            style=style,
        )
    gained = gains_in_words(status.rows)
    return Group(Text(heading, style="bold"), *([Text(gained)] if gained else []), shown)


def seconds_left(status_began: float, ended: int, trials: int) -> float | None:
    """Returns the seconds until all trials have ended, at the rate so far; None before any has."""
    if not ended:
        return None
    return (time.time() - status_began) / ended * (trials - ended)


def _most_telling(status: Status) -> list[TrialRow]:
    """Returns the baselines and the trials that run, then the best of the others."""

    def rank(row: TrialRow) -> tuple[bool, bool, float]:
        bits = row.bits_per_dim
        last = math.inf if bits is None or row.state == "failed" else bits
        return row.role is None, row.state != "running", last

    return sorted(status.rows, key=rank)[:TABLE_ROWS]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
