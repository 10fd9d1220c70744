"""Runs one attempt at a job, as the entrypoint of a Ray job.

It claims the attempt, writes heartbeats while the command runs, and writes its outcome. Whatever
the command started ends with it, when the attempt is stopped, when it cannot write heartbeats, and
when it is killed: see `cluster.queue.keeper`.

python -m cluster.queue.runner --store URI JOB ATTEMPT -- COMMAND...
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from cluster.descendants import end_processes, marked
from cluster.exits import exits
from cluster.queue.job_log import LogUpload
from cluster.queue.keeper import MARK
from cluster.queue.messages import AttemptOutcome, Heartbeat
from cluster.queue.progress import progress_of
from cluster.queue.records import QUEUE, QueueRecords
from cluster.queue.rules import StopReason, stop_reason
from cluster.queue.spec import JobSpec
from cluster.storage import StorageConfig
from flowkd.errors import FlowkdError
from flowkd.store.holder import ATTEMPT, JOB

BEAT_SECONDS = 2.0
STORE_RETRY_SECONDS = 5.0  # of each operation: what fails is tried again by the caller
# Exit codes
NOT_MINE = 76  # another process has claimed the attempt
CANCELLED = 130  # the job was cancelled before the command was started
STOPPED = StopReason("stopped")
POLL_SECONDS = 0.2
KEEPER_SECONDS = 4.0  # beyond the grace period: then it is killed, and what it kept


class AttemptRunner:
    """Runs a job's command and keeps the attempt's record.

    Args:
        records: The queue's part of the store.
        job: Id of the job.
        number: Number of the attempt, from 1.
        command: The program and its arguments; the words `{config}` and `{store}` stand for the
            path of the job's config file and the URI of the store.
        heartbeat_timeout: Seconds without a written heartbeat after which it stops; the dispatcher
            waits for longer before another attempt, so that no two run at once.
        grace_period: Seconds between SIGTERM and SIGKILL to the command.
    """

    def __init__(
        self,
        records: QueueRecords,
        job: str,
        number: int,
        command: Sequence[str],
        heartbeat_timeout: float,
        grace_period: float,
    ) -> None:
        self._heard = time.monotonic()  # when what was last heard of it was sent
        self.records = records
        self.job = job
        self.number = number
        self.command = tuple(command)
        self.spec: JobSpec = records.spec(job).spec
        self.heartbeat_timeout = heartbeat_timeout
        self.grace_period = grace_period
        self._stopping = threading.Event()
        self._reason: StopReason | None = None
        self._done = threading.Event()
        self._attempts = f"{records.store.uri}/{QUEUE}/{job}/attempts/"
        self._mark = f"{self._attempts}{number}"

    def run(self) -> int:
        """Runs the command, unless another process does or the job is cancelled; returns its code.

        Raises:
            FlowkdError: The store cannot be read or written, before anything is started.
        """
        signal.signal(signal.SIGTERM, lambda *_: self._stop(STOPPED))
        # Of a job that was moved to the archive the claims are gone, but its spec went before them.
        claimed = self.records.begin(self.job, self.number)
        if not claimed or not self.records.exists(self.job):
            print(f"attempt {self.number} of job {self.job} has begun elsewhere, or may not begin")
            return NOT_MINE
        if self.records.cancelled(self.job) or self._stopping.is_set():
            cancelled = StopReason("cancelled before it started", lost=False, cancelled=True)
            return self._end(CANCELLED, self._reason or cancelled)
        with tempfile.TemporaryDirectory(prefix="flowkd-job-") as folder:
            log = Path(folder, "log.txt")
            beats = threading.Thread(target=self._beat_regularly, daemon=True)
            upload = LogUpload(self.records.store, self.job, self.number, log)
            with log.open("wb") as output:
                self._end_marked(self._attempts)  # what those before it left here
                with self._start(folder, output.fileno()) as keeper:
                    beats.start()
                    with upload:
                        code = self._wait(keeper)
            self._done.set()
        return self._end(code, self._reason)

    def _start(self, folder: str, output: int) -> subprocess.Popen[bytes]:
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump(self.spec.config, sort_keys=False), encoding="utf-8")
        places = {"{config}": str(config), "{store}": self.records.store.uri}
        command = [places.get(word, word) for word in self.command]
        if command[0] == "python":
            command[0] = sys.executable
        environment = {
            **os.environ, JOB: self.job, ATTEMPT: str(self.number),  # for the lease of a run
            MARK: self._mark, "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        # In a session of its own, where no signal to this process's group reaches it; its standard
        # input ends when this process does, however that came.
        return subprocess.Popen(
            (sys.executable, "-m", "cluster.queue.keeper", f"{self.grace_period:g}", *command),
            stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip

    def _wait(self, keeper: subprocess.Popen[bytes]) -> int:
        """Waits until the command and all that it started have ended."""
        began = time.monotonic()
        while keeper.poll() is None:
            now = time.monotonic()
            reason = stop_reason(
                self.spec.timeouts, self.heartbeat_timeout, now - began, now - self._heard
            )
            if reason is not None:
                self._stop(reason)
            if self._stopping.wait(POLL_SECONDS):
                keeper.terminate()
                with suppress(subprocess.TimeoutExpired):
                    grace = self._grace()
                    keeper.wait(grace + KEEPER_SECONDS if grace else 0)
                break
        if keeper.poll() is None:
            keeper.kill()
        code = keeper.wait()
        if code < 0:  # it was killed, and others with it
            self._end_marked(self._mark)
        if self._reason is not None and self._reason.exit_code is not None:
            return self._reason.exit_code
        return 128 - code if code < 0 else code

    def _grace(self) -> float:
        """Returns how long the command may take to end: no longer than the dispatcher waits.

        An attempt that stood still may have a successor when it wakes.
        """
        silent = time.monotonic() - self._heard
        return min(self.grace_period, max(0, self.heartbeat_timeout + self.grace_period - silent))

    def _end_marked(self, prefix: str) -> None:
        """Kills the processes of this machine that attempts of this job have left running."""
        for ended in end_processes(lambda: marked(MARK, prefix), 0):
            print(f"ended what was left running: {ended}", flush=True)

    def _stop(self, reason: StopReason) -> None:
        self._reason = self._reason or reason
        self._stopping.set()

    def _beat_regularly(self) -> None:
        beats, progress = 0, ""
        while True:
            try:
                beats += 1
                sent = time.monotonic()
                heartbeat = Heartbeat(beats=beats, time=time.time(), progress=progress)
                self.records.beat(self.job, self.number, heartbeat)
                self._heard = sent
                if self.records.must_stop(self.job, self.number):
                    self._stop(STOPPED)
                progress = progress_of(self.records.store, self.spec)
            except (FlowkdError, OSError) as error:
                print(f"no heartbeat written, trying again: {error}", flush=True)
            if self._done.wait(min(BEAT_SECONDS, self.heartbeat_timeout / 5)):
                return

    def _end(self, code: int, reason: StopReason | None) -> int:
        text = reason.text if reason else ""
        outcome = AttemptOutcome(
            exit_code=code,
            reason=text,
            lost=reason is not None and reason.lost,
            cancelled=reason is not None and reason.cancelled,
            time=time.time(),
        )
        insist(lambda: self.records.end(self.job, self.number, outcome), "outcome")
        print(f"attempt {self.number} of job {self.job} ended with {code} {text}".rstrip())
        return code


def insist(write: Callable[[], object], what: str) -> None:
    """Tries to write until it succeeds: a store that is away or full may come back.

    Args:
        write: Writes it, or raises FlowkdError or OSError.
        what: A noun for the line that is printed after each failure.
    """
    pause = 0.5
    while True:
        try:
            write()
            return
        except (FlowkdError, OSError) as error:
            print(f"{what} not written, trying again in {pause:g} s: {error}", flush=True)
        time.sleep(pause)
        pause = min(2 * pause, 10.0)


def main() -> int:
    """Runs the attempt of the command line and returns its exit code."""
    parser = argparse.ArgumentParser(description="One attempt at a job of the queue.")
    parser.add_argument("job")
    parser.add_argument("attempt", type=int)
    parser.add_argument("--store", required=True)
    parser.add_argument("--heartbeat-timeout", type=float, default=60.0)
    parser.add_argument("--grace-period", type=float, default=30.0)
    words = sys.argv[1:]
    end = words.index("--")
    asked, command = parser.parse_args(words[:end]), words[end + 1 :]
    storage = StorageConfig.from_uri(asked.store).model_copy(
        update={"retry_seconds": STORE_RETRY_SECONDS}
    )
    records = QueueRecords(storage.store())
    return AttemptRunner(
        records,
        asked.job,
        asked.attempt,
        command,
        asked.heartbeat_timeout,
        asked.grace_period,
    ).run()


if __name__ == "__main__":
    with exits():
        sys.exit(main())
