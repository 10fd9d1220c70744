"""Reads what jobs wrote to the ledger, and counts from it what was lost and what was doubled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A line of the ledger.

    Attributes:
        what: `begin`, `end` or `overlap`.
        job: Id of the job.
        pid: Process of its command.
        time: When, seconds since 1970.
    """

    what: str
    job: str
    pid: int
    time: float


def read_ledger(folder: Path) -> list[Entry]:
    """Returns all entries, in the order in which they were written."""
    path = folder / "ledger.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    words = [line.split() for line in lines]
    return [Entry(what, job, int(pid), float(time)) for what, job, pid, time in words]


def process_of(entries: list[Entry], job: str) -> int | None:
    """Returns the process of a job's last command that began; None if none has."""
    return next((e.pid for e in reversed(entries) if (e.what, e.job) == ("begin", job)), None)


def lost(
    entries: list[Entry], states: Mapping[str, str], expected: Mapping[str, frozenset[str]]
) -> dict[str, str]:
    """Returns, by job, how its end is not the one that it should have.

    Args:
        entries: The ledger.
        states: The state of each job, as the queue tells it.
        expected: The states in which each job may end.
    """
    found = {}
    for job, right in expected.items():
        state = states.get(job, "gone")
        ours = [entry.what for entry in entries if entry.job == job]
        if state not in right:
            found[job] = f"{state}, not {' or '.join(sorted(right))}"
        elif state == "succeeded" and not ("begin" in ours and "end" in ours):
            found[job] = "succeeded, and its command never ran to its end"
    return found


def doubled(entries: list[Entry], successes: Mapping[str, int]) -> dict[str, str]:
    """Returns, by job, how it ran twice at once, or was counted as done twice.

    Args:
        entries: The ledger.
        successes: How often the queue recorded that each job succeeded, since it was last asked to
            run.
    """
    found = {job: f"succeeded {count} times" for job, count in successes.items() if count > 1}
    for entry in entries:
        if entry.what == "overlap" and entry.job in successes:
            found[entry.job] = f"process {entry.pid} began while another one of it lived"
    return found
