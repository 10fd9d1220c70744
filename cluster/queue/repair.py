"""Moves the records of a job that cannot be read out of its way, so that it goes on."""

from __future__ import annotations

from cluster.queue.messages import AttemptOutcome, Heartbeat
from cluster.queue.record_files import RecordError, put_aside, read_if_there
from cluster.queue.records import QUEUE, QueueRecords
from flowkd.config import Config

KINDS: dict[str, type[Config]] = {"heartbeat.json": Heartbeat, "outcome.json": AttemptOutcome}


def repair(records: QueueRecords, job: str) -> list[str]:
    """Moves the records of a job that cannot be read out of its way, and returns their paths.

    What an event said is then forgotten, and an attempt whose outcome it was counts as lost.

    Raises:
        RecordError: Its spec cannot be read: without it there is no job.
    """
    records.spec(job)
    store = records.store
    events = (("events", name) for name in store.list(QUEUE, job, "events"))
    attempts = (
        ("attempts", number, name)
        for number in store.list(QUEUE, job, "attempts")
        for name in KINDS
    )
    moved = []
    for parts in (*events, *attempts):
        try:
            if parts[0] == "events":
                records.event(job, parts[-1])
            else:
                read_if_there(store, KINDS[parts[-1]], QUEUE, job, *parts)
        except RecordError:
            put_aside(store, QUEUE, job, *parts)
            moved.append("/".join(parts))
    return moved
