"""How `flowkd show` shows a pipeline: its stages, each with its state, its times and its reason."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cluster.queue.events import ENDED
from cluster.queue.pipelines import StageJob, state_of
from flowkd.text import visible
from jobs.cli.console import say, say_facts

COLUMNS = ["stage", "kind", "state", "attempt", "waited", "ran", "ended", "reason"]


def say_pipeline(name: str, jobs: Sequence[StageJob], as_json: bool) -> None:
    """Prints a pipeline."""
    rows = [_row(each, as_json) for each in jobs]
    facts = {"pipeline": name, "state": state_of(jobs), "owner": jobs[0].accepted.spec.owner}
    if as_json:
        say_facts({**facts, "stages": rows}, True)
        return
    print(visible(", ".join(f"{key} {value}" for key, value in facts.items() if value)))
    say(rows, False, COLUMNS)


def _row(each: StageJob, as_json: bool) -> dict[str, Any]:
    spec, state, now = each.accepted.spec, each.state, time.time()
    end = state.ended_at or now
    queued = state.queued_at or each.accepted.submitted
    waited = max(0.0, (state.started_at or end) - queued)
    ran = max(0.0, end - state.started_at) if state.started_at else 0.0
    ended = state.ended_at if state.state in ENDED else 0.0
    return {
        "stage": spec.id.partition(".")[2],
        "job": spec.id,
        "kind": spec.kind,
        "state": state.state or "submitted",
        "attempt": state.attempt,
        "waited": waited if as_json else span(waited),
        "ran": ran if as_json else span(ran),
        "ended": (ended or None) if as_json else clock(ended) if ended else "",
        "reason": state.reason,
    }


def span(seconds: float) -> str:
    """Returns a duration in words.

    >>> span(59), span(61), span(3700)
    ('59 s', '1:01', '1:01:40')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def clock(seconds: float) -> str:
    """Returns a time, seconds since 1970, by this machine's clock."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
