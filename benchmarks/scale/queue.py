"""What a dispatcher and the commands take where a great many jobs have ended."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

from benchmarks.scale.sites import Fill, told
from cluster.queue.archive import BATCH
from cluster.queue.archive_index import ArchiveIndex, EndedJob
from cluster.queue.config import QueueConfig
from cluster.queue.dispatcher import Dispatcher
from cluster.queue.events import Event, state_after
from cluster.queue.job import Job
from cluster.queue.job_log import log_folder, read_job_log
from cluster.queue.messages import Accepted
from cluster.queue.record_files import dump
from cluster.queue.records import ENDED_JOBS, QUEUE, QueueRecords, event_name
from cluster.queue.spec import JobSpec
from cluster.queue.table import row_of
from flowkd.store.store import Store
from tests.support.small_cluster import COMMANDS, SmallCluster

START = 1_700_000_000.0
RAN, NOT_RUN = ("queued", "starting", "running", "succeeded"), ("queued", "cancelled")
EVERY = 20  # of so many jobs one has run; the others were cancelled before, and have fewer files


def measure(store: Store, fill: Fill, count: int) -> dict[str, Any]:
    """Returns milliseconds, calls of the store and bytes, by what is done."""
    config = QueueConfig(commands=dict(COMMANDS), archive_days=10_000)
    records, index, rows = QueueRecords(store), ArchiveIndex(store), []
    for number in range(count):
        job = _write(fill, ENDED_JOBS, number)
        moved = job.state.ended_at
        rows.append(EndedJob.of(job, row_of(job, None, moved), moved))
        if len(rows) == BATCH or number == count - 1:
            index.add(rows)
            rows = []
    for number in range(count, count + config.keep_ended):
        _write(fill, QUEUE, number)
    tracemalloc.start()
    dispatcher = Dispatcher(
        records, SmallCluster(records, cpus=0), config, clock=lambda: START + 10 * count
    )
    dispatcher.tick()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    old = f"j{count // 2 // EVERY * EVERY:06}"
    found = {
        "a look of the dispatcher, nothing changes": told(dispatcher.tick, 101),
        "flowkd queue": told(lambda: (records.table(), records.jobs()), 5),
        "flowkd queue --all: rows of all": told(lambda: ArchiveIndex(store).rows(), 1),
        "flowkd show, an archived job": told(lambda: _show(records, old), 5),
        "flowkd logs, an archived job": told(lambda: _logs(records, old), 5),
    }
    for number in range(count + 1000, count + 1000 + BATCH):
        _write(fill, QUEUE, number)
    dispatcher.tick()  # which takes them in and moves as many
    for number in range(count + 2000, count + 2000 + 2 * BATCH):
        _write(fill, QUEUE, number)
    dispatcher.jobs.take_in()
    found[f"{BATCH} jobs move to the archive"] = told(
        lambda: dispatcher._house.tick(START + 10 * count)
    )
    return {
        "archived": count,
        "in_queue": config.keep_ended,
        "table_bytes": len(store.read("queue.json")),
        "dispatcher_mib": round(held / 2**20, 1),
        "index_objects": len(store.list("queue-ended", "index")),
        **found,
    }


def _write(fill: Fill, folder: str, number: int) -> Job:
    """Writes a job that has ended, as its dispatcher and its attempt would have."""
    spec = JobSpec(id=f"j{number:06}", kind="c", owner=f"owner{number % 20}")
    submitted = START + number
    accepted = Accepted(spec=spec, submitted=submitted, nonce=f"{number:032x}")
    whole = number % EVERY == 0
    events = [
        Event(number=place, state=state, time=submitted + place, attempt=int(whole and place > 1))
        for place, state in enumerate(RAN if whole else NOT_RUN, start=1)
    ]
    path = f"{folder}/{spec.id}"
    for event in events:
        fill(f"{path}/events/{event_name(event.number)}", dump(event))
    if whole:
        outcome = json.dumps({"exit_code": 0, "time": submitted + 4}).encode()
        fill(f"{path}/attempts/1/outcome.json", outcome)
        fill("/".join((*log_folder(spec.id, 1, folder), "00000000.txt")), b"step 1\nstep 2\n")
    fill(f"{path}/spec.json", dump(accepted))
    return Job(spec, submitted, state_after(events), submitted)


def _show(records: QueueRecords, job: str) -> object:
    there = records.where(job)
    return there.spec(job), there.events(job)


def _logs(records: QueueRecords, job: str) -> object:
    there = records.where(job)
    return list(read_job_log(there.store, job, 1, within=there.folder))
