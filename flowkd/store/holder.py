"""Who holds something of the store: a process, and whether it has surely ended."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

from flowkd.config import Config

JOB, ATTEMPT = "FLOWKD_JOB", "FLOWKD_ATTEMPT"  # the queue tells an attempt's command


class Holder(Config):
    """A process that holds a lease.

    Attributes:
        host: Name of its machine.
        machine: Unlike that of other machines, restarts of this one, and containers.
        process: Its number.
        started: When it started, by the clock ticks of its machine; 0 if unknown.
        job: Id of its job; empty for none.
        attempt: Number of the job's attempt; 0 for none.
    """

    host: str
    machine: str
    process: int
    started: int = 0
    job: str = ""
    attempt: int = 0

    def __str__(self) -> str:
        job = f", attempt {self.attempt} of job {self.job}" if self.job else ""
        return f"process {self.process} on {self.host}{job}"

    @classmethod
    def this(cls) -> Holder:
        """Returns this process."""
        job, attempt = os.environ.get(JOB, ""), os.environ.get(ATTEMPT, "")
        return cls(
            host=socket.gethostname(),
            machine=_machine(),
            process=os.getpid(),
            started=_started(os.getpid()),
            job=job,
            attempt=int(attempt) if attempt.isdecimal() else 0,
        )

    def is_gone(self, now: Holder) -> bool:
        """Tells whether this holder has surely ended, for another that comes now."""
        if self.job and self.job == now.job and self.attempt < now.attempt:
            return True  # the queue has made sure of it
        if not self.machine or self.machine != now.machine:
            return False
        return _started(self.process) != self.started


def _started(process: int) -> int:
    """Returns when a process of this machine started, in clock ticks; 0 if it has ended."""
    try:
        fields = Path("/proc", str(process), "stat").read_text(errors="replace").rpartition(")")[2]
    except OSError:
        return 0
    state, *values = fields.split()
    return 0 if state in "ZX" else int(values[18])


@cache
def _machine() -> str:
    """Returns what tells this machine, since it started, and this container; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
