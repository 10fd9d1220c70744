"""A round: jobs of its own, one fault, and what was lost, doubled or wrong after it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from benchmarks.chaos import jobs
from benchmarks.chaos.ledger import doubled, lost, process_of, read_ledger
from benchmarks.chaos.site import CONFIG, Site, wait_for
from benchmarks.chaos.tracebacks import own_tracebacks
from cluster.queue.events import ENDED
from cluster.queue.job_log import read_job_log
from cluster.queue.record_files import RecordError
from cluster.queue.records import QueueError
from cluster.queue.spec import JobSpec
from cluster.queue.submission import submit_all
from flowkd.errors import FlowkdError
from flowkd.training.checkpoint_folders import current_checkpoints, current_folder
from flowkd.training.logs.metrics import last_record

SECONDS = 150  # for a job to be accepted, to begin, to leave a checkpoint
STALLED_SECONDS = 120  # without a sign of life of any job of a round: then it is judged as it is
FROZEN_SECONDS = CONFIG.loss_timeout + 8  # its successor has begun by then
DONE = frozenset({"succeeded"})
ENDS = frozenset({"succeeded", "cancelled"})


class NotInjectedError(Exception):
    """The fault could not be brought about."""


@dataclass
class Row:
    """What came of one fault.

    Attributes:
        fault: Its name.
        store: `disk` or `s3`.
        jobs: Number of jobs of its round.
        seconds: How long it took.
        lost: By job, how it did not end as it should.
        doubled: By job, how it ran twice at once or counted twice.
        wrong: By run, how its steps and losses are not those of the undisturbed one.
        tracebacks: Those of flowkd's in any log or output.
        note: Why it was not injected, if so.
    """

    fault: str
    store: str
    jobs: int = 0
    seconds: float = 0.0
    lost: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    tracebacks: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.wrong or self.tracebacks)


class Round:
    """The jobs of one fault.

    Args:
        site: The cluster.
        store: `disk` or `s3`.
        number: Makes the names of its jobs its own.
        seed: Of its random choices.
    """

    def __init__(self, site: Site, store: str, number: int, seed: str) -> None:
        self.site, self.store = site, store
        self.records = site.records(store)
        self.random = random.Random(seed)
        self.expected: dict[str, frozenset[str]] = {}
        self.trainings: list[str] = []
        self.faults: dict[str, str] = {}
        self._prefix = f"r{number:02}"
        self._count = 0

    def name(self, kind: str) -> str:
        """Returns a new name for a job."""
        self._count += 1
        return f"{self._prefix}-{kind}{self._count}"

    def submit(self, *specs: JobSpec, right: frozenset[str] = DONE) -> str:
        """Submits jobs, as soon as the store takes them; returns the last one's name."""
        refused: list[Exception] = []

        def accepted() -> bool:
            try:
                submit_all(self.records, specs)
                return True
            except QueueError:
                raise
            except FlowkdError as error:
                refused.append(error)
                return False

        if not wait_for(accepted, SECONDS):
            raise RuntimeError(f"jobs were not accepted: {refused[-1]}")
        for spec in specs:
            self.expected[spec.id] = right
            if spec.kind == "train_teacher":
                self.trainings.append(spec.id)
        return specs[-1].id

    def quick(self, seconds: float = 0.5, right: frozenset[str] = DONE, **changes: Any) -> str:
        """Submits a quick job."""
        return self.submit(jobs.quick(self.name("quick"), seconds, **changes), right=right)

    def train(self) -> str:
        """Submits a training."""
        return self.submit(jobs.train(self.name("train")))

    def stream(self, count: int = 2) -> None:
        """Submits what runs beside: some quick jobs, and now and then one of another kind."""
        for _ in range(count):
            self.quick(self.random.uniform(0.2, 2))
        match self.random.randrange(6):
            case 0:
                self.submit(jobs.evaluate(self.name("evaluate")))
            case 1:
                self.submit(jobs.publish(self.name("publish")))

    def begun(self, job: str) -> int:
        """Waits until a job's command has begun, and returns its process."""
        found: list[int] = []

        def look() -> bool:
            pid = process_of(read_ledger(self.site.ledger), job)
            found.extend([] if pid is None else [pid])
            return bool(found)

        if not wait_for(look, SECONDS):
            raise NotInjectedError(f"job {job} did not begin within {SECONDS} s")
        return found[-1]

    def in_mid_run(self, run: str) -> None:
        """Waits until a training has two checkpoints and goes on."""

        def look() -> bool:
            with suppress(FlowkdError, OSError):
                return len(self.checkpoints(run)) > 1 and last_record(self._store, run) is not None
            return False

        if not wait_for(look, SECONDS):
            raise NotInjectedError(f"run {run} left no checkpoint within {SECONDS} s")

    def checkpoints(self, run: str) -> list[str]:
        """Returns the folders of a run's checkpoints, the oldest first."""
        folder = current_folder(self._store, run)
        names = current_checkpoints(self._store, run)
        return [f"{folder}/{name}" for name in names]

    def worker(self) -> psutil.Process:
        """Returns the training worker's process."""
        found: list[psutil.Process] = []

        def look() -> bool:
            found.extend(self.site.find("TrainWorker"))
            return bool(found)

        if not wait_for(look, 10):
            raise NotInjectedError("the training has no worker process of Ray's")
        return found[-1]

    def runner(self, job: str) -> psutil.Process:
        """Returns the process of a job's attempt."""
        self.begun(job)
        found = self.site.runner(self.store, job)
        if found is None:
            raise NotInjectedError(f"no process runs an attempt at {job}")
        return found

    def states(self) -> dict[str, str]:
        """Returns the state of each job; `damaged` where a record cannot be read."""
        return {job: self._state(job) for job in self.expected}

    def judge(self, row: Row) -> None:
        """Waits for all jobs to end, and fills in what is wrong."""
        right = self.expected
        self._wait_for_the_end()
        entries = read_ledger(self.site.ledger)
        row.jobs = len(right)
        row.lost = {**lost(entries, self.states(), right), **self.faults}
        row.doubled = doubled(entries, {job: self._successes(job) for job in right})
        trained = [run for run in self.trainings if run not in row.lost]
        differ = {run: self._difference(run) for run in trained}
        row.wrong = {run: text for run, text in differ.items() if text is not None}
        row.tracebacks = [*self.site.tracebacks(), *self._in_job_logs()]
        self._clear_away()

    def _wait_for_the_end(self) -> None:
        """Waits until all jobs have ended as they should, for as long as there are signs of life.

        How long they take is the machine's affair.
        """
        seen, changed = None, time.monotonic()
        while time.monotonic() - changed < STALLED_SECONDS:
            states = self.states()
            if all(states[job] in right for job, right in self.expected.items()):
                return
            signs = (states, read_ledger(self.site.ledger), self._progress())
            if signs != seen:
                seen, changed = signs, time.monotonic()
            time.sleep(0.3)

    def _progress(self) -> list[str]:
        with suppress(FlowkdError):
            table = self.records.table()
            return [row.progress for row in table.rows if row.job in self.expected] if table else []
        return []

    @property
    def _store(self) -> Any:
        return self.records.store

    def _state(self, job: str) -> str:
        try:
            return self.records.state(job).state or "submitted"
        except RecordError:
            return "damaged"
        except FlowkdError as error:
            return str(error)

    def _successes(self, job: str) -> int:
        count = 0
        with suppress(FlowkdError):
            for event in self.records.events(job):
                count = 0 if event.state == "queued" else count + (event.state == "succeeded")
        return count

    def _difference(self, run: str) -> str | None:
        try:
            return jobs.difference(self._store, run)
        except FlowkdError as error:
            return str(error)

    def _in_job_logs(self) -> list[str]:
        found = []
        for job in self.expected:
            with suppress(FlowkdError):
                for attempt in self._store.list("queue", job, "attempts"):
                    data = b"".join(read_job_log(self._store, job, int(attempt)))
                    own = own_tracebacks(data.decode(errors="replace"))
                    found += [f"log of {job}, attempt {attempt}: {each}" for each in own]
        return found

    def _clear_away(self) -> None:
        """Ends the jobs that have not ended, so that they are not in the next round's way."""
        for job in self.expected:
            with suppress(FlowkdError):
                if self._state(job) not in ENDED:
                    self.records.ask(job, "cancel", by="chaos")
        wait_for(lambda: not set(self.states().values()) - {*ENDED, "damaged"}, 20)


@contextmanager
def frozen(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stops processes, and lets them go on afterwards."""
    for process in processes:
        with suppress(psutil.Error):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.Error):
                process.resume()


def freeze(processes: Sequence[psutil.Process]) -> None:
    """Freezes processes for longer than an attempt may be silent."""
    with frozen(processes):
        time.sleep(FROZEN_SECONDS)


def kill(pid: int) -> None:
    """Ends a process as `kill -9` does."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def run_round(
    site: Site, fault: str, inject: Callable[[Round], None], store: str, number: int, seed: int
) -> Row:
    """Injects a fault, and returns what came of it."""
    began = time.monotonic()
    this = Round(site, store, number, f"{seed}/{fault}/{store}/{number}")
    row = Row(fault, store)
    try:
        inject(this)
    except (NotInjectedError, psutil.Error) as error:
        row.note = str(error)
    except FlowkdError as error:
        this.faults[fault] = str(error)
    this.judge(row)
    row.seconds = round(time.monotonic() - began, 1)
    return row
