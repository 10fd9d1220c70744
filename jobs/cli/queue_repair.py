"""`flowkd queue repair`, `flowkd queue remove`: a job whose records cannot be read, or are done."""

from __future__ import annotations

import typer

from cluster.queue.events import ENDED
from cluster.queue.pipelines import pipeline_jobs
from cluster.queue.record_files import RecordError
from cluster.queue.records import QueueError, QueueRecords
from flowkd.names import is_name
from jobs.cli.console import StoreUri, done, opened_store
from jobs.cli.lazy import example
from jobs.owner import this_user


def repair_job(job: str, store: StoreUri = None) -> None:
    """Move the records of a job that cannot be read out of its way; it then goes on."""
    with opened_store(store) as opened:
        records = QueueRecords(opened)
        records.ask(job, "repair", by=this_user())
        done(f"{job}: to be repaired; what cannot be read is kept in queue-damaged/")


def remove_job(job: str, store: StoreUri = None) -> None:
    """Remove the records of a job, or a pipeline, that has ended, or of what cannot be repaired."""
    with opened_store(store) as opened:
        records = QueueRecords(opened)
        is_job = job in records.jobs() or _archived(records, job)
        found = [] if is_job else [each.job for each in pipeline_jobs(records, job)]
        found = found or [job]
        for each in found:
            state = _state(records, each)
            if state not in (*ENDED, "damaged"):
                raise QueueError(
                    f"cannot remove job {each!r}: expected one that has ended; it is {state}; "
                    f"`flowkd cancel {job}` ends it"
                )
        for each in found:
            records.ask(each, "remove", by=this_user())
            done(f"{each}: to be removed")


def _state(records: QueueRecords, job: str) -> str:
    """Returns a job's state; `damaged` if a record cannot be read, here or by the dispatcher."""
    table = records.table()
    if table and any(row.job == job and row.state == "damaged" for row in table.rows):
        return "damaged"
    if job in records.jobs() and (not is_name(job) or not records.exists(job)):
        return "damaged"
    try:
        there = records.where(job) if is_name(job) else records
        there.spec(job)
        return there.state(job).state or "submitted"
    except RecordError:
        return "damaged"


def _archived(records: QueueRecords, job: str) -> bool:
    return is_name(job) and records.where(job) is not records


def add_repair(queue: typer.Typer) -> None:
    """Adds the commands to those of the queue."""
    queue.command("repair", epilog=example("flowkd queue repair JOB"))(repair_job)
    queue.command("remove", epilog=example("flowkd queue remove JOB"))(remove_job)
