"""`flowkd show`, `logs`, `cancel`, `retry`: one job of the queue, or one pipeline."""

from __future__ import annotations

import codecs
import sys
import time
from collections.abc import Iterator
from textwrap import indent
from typing import Annotated, Any

import typer
import yaml

from cluster.queue.events import ACTIVE, ENDED
from cluster.queue.job_log import read_job_log
from cluster.queue.pipelines import StageJob, job_to_read, pipeline_jobs, to_cancel, to_retry
from cluster.queue.records import QueueError, QueueRecords, describe
from flowkd.text import log_for_terminal, visible
from jobs.cli.console import Json, StoreUri, done, opened_store, say, say_facts
from jobs.cli.pipelines import clock, say_pipeline
from jobs.owner import this_user

POLL_SECONDS = 1.0

JobName = Annotated[str, typer.Argument(help="Id of the job, or name of a pipeline.")]


def show_job(job: JobName, store: StoreUri = None, as_json: Json = False) -> None:
    """Show a job, with all that has happened to it, or the stages of a pipeline."""
    with opened_store(store) as opened:
        records = QueueRecords(opened)
        stages = _stages(records, job)
        if stages:
            say_pipeline(job, stages, as_json)
            return
        records = records.where(job)
        accepted = records.spec(job)
        events = [event.model_dump(exclude_defaults=True) for event in records.events(job)]
        state = records.state(job)
        facts: dict[str, Any] = {
            "config": {},
            **describe(accepted.spec),
            "submitted": accepted.submitted if as_json else clock(accepted.submitted),
            "state": state.state or "submitted",
            "attempt": state.attempt,
            "reason": _trouble(records, job) or state.reason,
        }
        if as_json:
            say_facts({**facts, "events": events}, True)
            return
        say_facts({key: value for key, value in facts.items() if key != "config"}, False)
        print("\nconfig:")
        print(visible(indent(yaml.safe_dump(facts["config"], sort_keys=False), "  ")))
        rows = [{**event, "time": clock(event["time"])} for event in events]
        say(
            [{"reason": "", "attempt": 0, **row} for row in rows],
            False,
            ["time", "state", "attempt", "reason"],
        )


def _trouble(records: QueueRecords, job: str) -> str:
    """Returns why a job that is active gets no further, as the dispatcher's table says it."""
    if records.state(job).state not in ACTIVE:
        return ""
    table = records.table()
    return next((row.reason for row in table.rows if row.job == job), "") if table else ""


def show_logs(
    job: JobName,
    follow: Annotated[bool, typer.Option(help="Until the job has ended.")] = False,
    attempt: Annotated[int | None, typer.Option(help="Default: the last one.")] = None,
    store: StoreUri = None,
) -> None:
    """Print what a job has printed; of a pipeline, the one that runs or failed."""
    with opened_store(store) as opened:
        records = QueueRecords(opened)
        stages = _stages(records, job)
        if stages:
            job = job_to_read(job, stages)
            print(visible(f"{job}:"), file=sys.stderr)
        records.where(job).spec(job)
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for data in _followed(records, job, attempt, follow):
            if sys.stdout.isatty():
                sys.stdout.write(log_for_terminal(decoder.decode(data)))
            else:
                sys.stdout.buffer.write(data)
            sys.stdout.flush()


def cancel_job(job: JobName, store: StoreUri = None) -> None:
    """Cancel a job, or a pipeline: what waits never starts, what runs is stopped."""
    with opened_store(store) as opened:
        records = QueueRecords(opened)
        stages = _stages(records, job)
        if not stages:
            _check_ended(records, job, "cancel", ended=False)
        for each in to_cancel(job, stages) if stages else [job]:
            records.ask(each, "cancel", by=this_user())
            done(f"{each}: to be cancelled")


def retry_job(job: JobName, store: StoreUri = None) -> None:
    """Put a job that has ended into the queue again, or the stages of a pipeline that failed."""
    with opened_store(store) as opened:
        records = QueueRecords(opened)
        stages = _stages(records, job)
        if not stages:
            _check_ended(records, job, "retry", ended=True)
        for each in to_retry(job, stages) if stages else [job]:
            records.ask(each, "retry", by=this_user())
            done(f"{each}: to be tried again")


def _stages(records: QueueRecords, name: str) -> list[StageJob]:
    """Returns the jobs of a pipeline; none where the name is a job's, or nothing's."""
    is_job = name in records.jobs() or records.where(name) is not records
    return [] if is_job else pipeline_jobs(records, name)


def _check_ended(records: QueueRecords, job: str, what: str, ended: bool) -> None:
    records = records.where(job)
    records.spec(job)
    state = records.state(job).state
    if (state in ENDED) != ended:
        wanted = "one that has ended" if ended else "one that waits or runs"
        raise QueueError(f"cannot {what} job {job!r}: expected {wanted}; it is {state}")


def _followed(
    records: QueueRecords, job: str, attempt: int | None, follow: bool
) -> Iterator[bytes]:
    position, number = 0, attempt
    while True:
        there = records.where(job)  # it may move to the archive meanwhile
        state = there.state(job)
        if number != (attempt or state.attempt):
            position, number = 0, attempt or state.attempt
        for data in read_job_log(there.store, job, number or 1, position, there.folder):
            position += len(data)
            yield data
        if not follow or state.state in ENDED:
            return
        time.sleep(POLL_SECONDS)
