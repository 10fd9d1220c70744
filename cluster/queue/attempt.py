"""One attempt at a job, as the entrypoint of a Ray job: it begins once, says that it lives, and
stops whatever it started when it is stopped, when nobody can hear it, and when it is killed.

python -m cluster.queue.attempt JOB ATTEMPT --store URI
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import yaml

from cluster.queue.job import JobSpec
from cluster.queue.log import LogUpload
from cluster.queue.records import Heartbeat, Outcome, Records
from cluster.storage import StorageConfig
from flowkd.errors import FlowkdError

BEAT_SECONDS = 2.0
NOT_MINE = 76
TIMED_OUT = 124
CANCELLED = 130
POLL_SECONDS = 0.2


class Attempt:
    """Runs a job's command and keeps its record.

    Args:
        records: Of the queue.
        job: Its id.
        number: Of the attempt.
        silence: If it could not say for so many seconds that it is alive, it stops; the dispatcher
            waits for longer before it begins another, so that no two run at once.
        grace: Seconds that the command has to stop.
    """

    def __init__(
        self, records: Records, job: str, number: int, silence: float, grace: float
    ) -> None:
        self.records = records
        self.job = job
        self.number = number
        self.spec: JobSpec = records.spec(job).spec
        self.silence = silence
        self.grace = grace
        self._heard = time.monotonic()
        self._stopping = threading.Event()
        self._reason = ""
        self._done = threading.Event()

    def run(self) -> int:
        """Runs the command, unless another process does or the job is cancelled; returns its code.

        Raises:
            FlowkdError: The store cannot be read or written, before anything is started.
        """
        if not self.records.begin(self.job, self.number):
            print(f"attempt {self.number} of job {self.job} has begun elsewhere")
            return NOT_MINE
        asked = {(request.job, request.what) for request in self.records.requests()}
        if (self.job, "cancel") in asked:
            return self._end(CANCELLED, "cancelled before it started")
        signal.signal(signal.SIGTERM, lambda *_: self._stop("stopped"))
        with tempfile.TemporaryDirectory(prefix="flowkd-job-") as folder:
            log = Path(folder, "log.txt")
            beats = threading.Thread(target=self._beat_regularly, daemon=True)
            upload = LogUpload(self.records.store, self.job, self.number, log)
            with log.open("wb") as output:
                child = self._start(folder, output.fileno())
                beats.start()
                with upload:
                    code = self._wait(child)
            self._done.set()
            beats.join()
        return self._end(code, self._reason)

    def _start(self, folder: str, output: int) -> subprocess.Popen[bytes]:
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump(self.spec.config, sort_keys=False), encoding="utf-8")
        places = {"{config}": str(config), "{store}": self.records.store.uri}
        command = [places.get(word, word) for word in self.spec.command]
        if command[0] == "python":
            command[0] = sys.executable
        environment = {**os.environ, "FLOWKD_JOB": self.job, "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True, preexec_fn=_die_with_parent,
        )  # fmt: skip

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        began = time.monotonic()
        limit = self.spec.limits.running
        while child.poll() is None:
            if limit is not None and time.monotonic() - began > limit:
                self._stop(f"ran for longer than {limit:g} s")
            if time.monotonic() - self._heard > self.silence:
                self._stop("could not reach the store to say that it is alive")
            if self._stopping.wait(POLL_SECONDS):
                _terminate(child, self.grace)
        if self._reason.startswith("ran for longer"):
            return TIMED_OUT
        code = child.returncode
        return 128 - code if code < 0 else code

    def _stop(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._stopping.set()

    def _beat_regularly(self) -> None:
        beats = 0
        while True:
            try:
                beats += 1
                self.records.beat(self.job, self.number, Heartbeat(beats=beats, time=time.time()))
                self._heard = time.monotonic()
            except (FlowkdError, OSError) as error:
                print(f"no heartbeat written, trying again: {error}", flush=True)
            if self._done.wait(BEAT_SECONDS):
                return

    def _end(self, code: int, reason: str) -> int:
        outcome = Outcome(exit_code=code, reason=reason, time=time.time())
        self.records.end(self.job, self.number, outcome)
        print(f"attempt {self.number} of job {self.job} ended with {code} {reason}".rstrip())
        return code


def _terminate(child: subprocess.Popen[bytes], grace: float) -> None:
    """Asks a process and all that it started to stop, and makes them after a while."""
    os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> int:
    """Runs the attempt of the command line and returns its exit code."""
    parser = argparse.ArgumentParser(description="One attempt at a job of the queue.")
    parser.add_argument("job")
    parser.add_argument("attempt", type=int)
    parser.add_argument("--store", required=True)
    parser.add_argument("--silence", type=float, default=60.0)
    parser.add_argument("--grace", type=float, default=30.0)
    asked = parser.parse_args()
    records = Records(StorageConfig.from_uri(asked.store).store())
    return Attempt(records, asked.job, asked.attempt, asked.silence, asked.grace).run()


if __name__ == "__main__":
    sys.exit(main())
