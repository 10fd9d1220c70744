"""Who may write a run: a lease with a number, and whoever takes the next one fences out the last.

`runs/NAME/lease/00000003.json` says who took number 3, and when; it is created, so that one process
alone has a number. It is the token of all that its holder writes: metrics, checkpoints and results
lie below it, and readers take what the line of holders wrote. Therefore a process that stood still
while another took over may write what it likes when it wakes: nothing of it counts.

A run is finished by its next number, too: whoever was fenced out cannot have it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from flowkd.config import Config
from flowkd.errors import FencedError, HeldError
from flowkd.store.exclusive import create_alone
from flowkd.store.store import Store

TAKEN = re.compile(r"([0-9]{8})\.json")
# A holder that says nothing for so long is taken for dead. If it is not, it is fenced out.
LEASE_SECONDS = 30.0
LONG_AGO = 3600.0  # seconds: more than clocks differ, so that nobody waits for such a holder
LOOK_SECONDS = 0.2
JOB, ATTEMPT = "FLOWKD_JOB", "FLOWKD_ATTEMPT"  # the queue tells an attempt's command


class Holder(Config):
    """A process that holds a run.

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


class LeaseRecord(Config):
    """What is kept of a number.

    Attributes:
        number: Counts from 1.
        holder: Who took it.
        time: When, seconds since 1970.
        nonce: Unlike that of any other.
        finished: The number whose holder finished the run with this one; None for a lease.
        result: Folder of that result in the run's.
        steps: How many steps that result has.
    """

    number: int
    holder: Holder
    time: float
    nonce: str
    finished: int | None = None
    result: str = ""
    steps: int = 0


class Sign(Config):
    """A holder's sign of life.

    Attributes:
        beats: Counts from 1.
        time: When, seconds since 1970.
        released: Whether it holds the run no more.
    """

    beats: int
    time: float
    released: bool = False


@dataclass(frozen=True)
class Token:
    """A number of a run's lease: what is written with it counts until another takes the next.

    Attributes:
        store: Where the run is.
        run: Its name.
        number: The number.
    """

    store: Store
    run: str
    number: int

    @property
    def folder(self) -> str:
        """Path of the run's leases."""
        return f"runs/{self.run}/lease"

    @property
    def name(self) -> str:
        """Names what is written with it, in the order of numbers."""
        return f"{self.number:08}"

    def successor(self, names: list[str] | None = None) -> LeaseRecord | None:
        """Returns who has fenced this one out; None if nobody, or if it is finished.

        Args:
            names: What is in the folder of leases; default what is there now.
        """
        found = _numbers(self.store.list(self.folder) if names is None else names)
        if not found or found[-1] <= self.number:
            return None
        last = _read(self.store, self.folder, found[-1])
        return None if last.finished == self.number else last

    def finish(self, result: str, steps: int) -> None:
        """Makes what lies in a folder of `runs/NAME/result/` the run's result.

        Args:
            result: Name of the folder, an artifact with its manifest.
            steps: How many steps it has.

        Raises:
            FencedError: Another has taken over.
        """
        data = _record(self.number + 1, finished=self.number, result=result, steps=steps)
        if not create_alone(self.store, data, self.folder, f"{self.number + 1:08}.json"):
            found = _read(self.store, self.folder, self.number + 1)
            if found.finished != self.number:
                raise fenced(self.run, found)
            result = found.result
        _show(self.store, self.run, result)


def fenced(run: str, by: LeaseRecord) -> FencedError:
    """Returns the error of a holder that stood still while another took over."""
    return FencedError(
        f"run {run!r} was taken over by {by.holder} at {_clock(by.time)}, because this process had "
        f"not said for {LEASE_SECONDS:g} s that it is alive, or its attempt was given up: nothing "
        f"that it writes counts any more, so it ends"
    )


def take(store: Store, run: str, steps: int, say: Callable[[str], None] = print) -> Token | None:
    """Takes the next number of a run's lease, which fences out whoever had the last one.

    It costs a listing and a creation where nobody had one.

    Args:
        store: Where the run is, or will be.
        run: Its name.
        steps: How many steps it is to have.
        say: Told when it has to wait; default print.

    Returns:
        The token; None where the run is finished.

    Raises:
        HeldError: Another process holds the run, and is alive.
    """
    folder, now = f"runs/{run}/lease", Holder.this()
    while True:
        numbers = _numbers(store.list(folder))
        number = numbers[-1] + 1 if numbers else 1
        last = _read(store, folder, numbers[-1]) if numbers else None
        if last is not None and _is_finished(store, run, last, steps):
            _show(store, run, last.result)
            return None
        if last is not None and last.finished is None and not last.holder.is_gone(now):
            _wait_for_end(store, run, last, say)
        data = _record(number)
        if create_alone(store, data, folder, f"{number:08}.json"):
            return Token(store, run, number)


def _is_finished(store: Store, run: str, last: LeaseRecord, steps: int) -> bool:
    """Tells whether a run has a result of so many steps; somebody may have removed it since."""
    if last.finished is None or last.steps < steps:
        return False
    return store.exists("runs", run, "result", last.result, "manifest.json")


def sign(token: Token, beats: int, *, released: bool = False) -> None:
    """Says that the holder of a token is alive, or that it holds the run no more."""
    said = Sign(beats=beats, time=time.time(), released=released)
    token.store.write(said.model_dump_json().encode(), token.folder, f"{token.name}.alive.json")


def _wait_for_end(store: Store, run: str, last: LeaseRecord, say: Callable[[str], None]) -> None:
    """Returns once a holder has ended, or said nothing for LEASE_SECONDS; else raises HeldError."""
    first = found = _last_sign(store, run, last.number)
    deadline = time.monotonic() + LEASE_SECONDS
    if time.time() - (first.time if first else last.time) > LONG_AGO:
        return
    told = False
    while time.monotonic() < deadline:
        if found is not None and found.released:
            return
        if found != first:
            raise HeldError(
                f"run {run!r} is held by {last.holder} since {_clock(last.time)}, which is alive: "
                f"wait for its end, "
                + (f"`flowkd cancel {last.holder.job}`" if last.holder.job else "stop it")
                + ", or choose another name"
            )
        if not told:
            say(
                f"run {run!r} was held by {last.holder} since {_clock(last.time)}: waiting up to "
                f"{LEASE_SECONDS:g} s to see whether it is alive"
            )
            told = True
        time.sleep(LOOK_SECONDS)
        found = _last_sign(store, run, last.number)


def _last_sign(store: Store, run: str, number: int) -> Sign | None:
    path = ("runs", run, "lease", f"{number:08}.alive.json")
    if not store.exists(*path):
        return None
    try:
        return Sign.model_validate_json(store.read(*path), extra="ignore")
    except ValidationError:
        return None


def _show(store: Store, run: str, result: str) -> None:
    """Makes a finished result the one that readers find; whoever does, writes the same."""
    folder = f"runs/{run}/result"
    store.write(store.read(folder, result, "manifest.json"), folder, "manifest.json")


def _numbers(names: list[str]) -> list[int]:
    return sorted(int(match[1]) for match in map(TAKEN.fullmatch, names) if match)


def _read(store: Store, folder: str, number: int) -> LeaseRecord:
    """Returns the record of a number; of one that is damaged, only the number counts."""
    try:
        data = store.read(folder, f"{number:08}.json")
        return LeaseRecord.model_validate_json(data, extra="ignore")
    except ValidationError:
        nobody = Holder(host="an unknown machine", machine="", process=0)
        return LeaseRecord(number=number, holder=nobody, time=0, nonce="")


def _record(number: int, finished: int | None = None, result: str = "", steps: int = 0) -> bytes:
    found = LeaseRecord(
        number=number,
        holder=Holder.this(),
        time=time.time(),
        nonce=uuid.uuid4().hex,
        finished=finished,
        result=result,
        steps=steps,
    )
    return json.dumps(found.model_dump(mode="json"), indent=2).encode() + b"\n"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


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
