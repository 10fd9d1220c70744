"""Who may write a thing: a lease with a number, and whoever takes the next one fences out the last.

`PLACE/lease/00000003.json` says who took number 3 of what lies at a place, `runs/NAME` for one, and
when; it is created, so that one process alone has a number. It is the token of all that its holder
writes, which lies under its number, and readers take what the line of holders wrote. Therefore a
process that stood still while another took over may write what it likes when it wakes: nothing of
it counts.

What a holder made is finished by its next number, too: whoever was fenced out cannot have it.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from flowkd.config import Config
from flowkd.errors import FencedError, HeldError
from flowkd.store.exclusive import create_alone
from flowkd.store.holder import Holder
from flowkd.store.store import Store

TAKEN = re.compile(r"([0-9]{8})\.json")
# A holder that says nothing for so long is taken for dead. If it is not, it is fenced out.
LEASE_SECONDS = 30.0
LONG_AGO = 3600.0  # seconds: more than clocks differ, so that nobody waits for such a holder
LOOK_SECONDS = 0.2
KINDS = {
    "runs": "run", "searches": "search", "evaluations": "evaluation",
    "publications": "publication of",
}  # fmt: skip


class LeaseRecord(Config):
    """What is kept of a number.

    Attributes:
        number: Counts from 1.
        holder: Who took it.
        time: When, seconds since 1970.
        nonce: Unlike that of any other.
        finished: The number whose holder finished its work with this one; None for a lease.
        result: What it made, in the words of its kind: a folder, or a version; empty for a lease.
        facts: What else is to be known of the result, by name.
    """

    number: int
    holder: Holder
    time: float
    nonce: str
    finished: int | None = None
    result: str = ""
    facts: dict[str, Any] = Field(default_factory=dict)


class Sign(Config):
    """A holder's sign of life.

    Attributes:
        beats: Counts from 1.
        time: When, seconds since 1970.
        released: Whether it holds the lease no more.
    """

    beats: int
    time: float
    released: bool = False


@dataclass(frozen=True)
class Token:
    """A number of a lease: what is written with it counts until another takes the next.

    Attributes:
        store: Where it is.
        place: What is held, by its path, `runs/NAME` for one.
        number: The number.
    """

    store: Store
    place: str
    number: int

    @property
    def subject(self) -> str:
        """Name of what is held."""
        return self.place.split("/")[1]

    @property
    def folder(self) -> str:
        """Path of the leases."""
        return lease_folder(self.place)

    @property
    def name(self) -> str:
        """Names what is written with it, in the order of numbers."""
        return f"{self.number:08}"

    def __str__(self) -> str:
        return described(self.place)

    def successor(self, names: list[str] | None = None) -> LeaseRecord | None:
        """Returns who has fenced this one out; None if nobody, or if it is finished.

        Args:
            names: What is in the folder of leases; default what is there now.
        """
        found = numbers_of(self.store.list(self.folder) if names is None else names)
        if not found or found[-1] <= self.number:
            return None
        last = read_lease(self.store, self.folder, found[-1])
        return None if last.finished == self.number else last

    def finish(self, result: str, **facts: Any) -> str:
        """Makes what its holder has made the result, and returns it.

        Args:
            result: What it made, in the words of its kind.
            facts: What else is to be known of it.

        Returns:
            The result; of an earlier call, if there was one whose answer was lost.

        Raises:
            FencedError: Another has taken over.
        """
        number = self.number + 1
        data = _record(number, finished=self.number, result=result, facts=facts)
        if create_alone(self.store, data, self.folder, f"{number:08}.json"):
            return result
        found = read_lease(self.store, self.folder, number)
        if found.finished != self.number:
            raise fenced(self.place, found)
        return found.result


def lease_folder(place: str) -> str:
    """Returns the path of the leases of what lies at a place."""
    return f"{place}/lease"


def described(place: str) -> str:
    """Returns what lies at a place, in words.

    >>> described("runs/teacher"), described("publications/photos/0a1b")
    ("run 'teacher'", "publication of 'photos'")
    """
    kind, name = place.split("/")[:2]
    return f"{KINDS[kind]} {name!r}"


def fenced(place: str, by: LeaseRecord) -> FencedError:
    """Returns the error of a holder that stood still while another took over."""
    return FencedError(
        f"{described(place)} was taken over by {by.holder} at {_clock(by.time)}, because this "
        f"process had not said for {LEASE_SECONDS:g} s that it is alive, or its attempt was given "
        f"up: nothing that it writes counts any more, so it ends"
    )


def take(
    store: Store,
    place: str,
    is_done: Callable[[LeaseRecord], bool] = lambda last: False,
    say: Callable[[str], None] = print,
) -> Token | LeaseRecord:
    """Takes the next number of a lease, which fences out whoever had the last one.

    It costs a listing and a creation where nobody had one.

    Args:
        store: Where it is.
        place: What is to be held, by its path.
        is_done: Tells of a finished result whether nothing is left to be done; default never.
        say: Told when it has to wait; default print.

    Returns:
        The token; where nothing is left to be done, the record of what was finished.

    Raises:
        HeldError: Another process holds it, and is alive.
    """
    folder, now = lease_folder(place), Holder.this()
    while True:
        numbers = numbers_of(store.list(folder))
        number = numbers[-1] + 1 if numbers else 1
        last = read_lease(store, folder, numbers[-1]) if numbers else None
        if last is not None and last.finished is not None and is_done(last):
            return last
        if last is not None and last.finished is None and not last.holder.is_gone(now):
            _wait_for_end(store, place, last, say)
        if create_alone(store, _record(number), folder, f"{number:08}.json"):
            return Token(store, place, number)


def last_finished(store: Store, place: str) -> LeaseRecord | None:
    """Returns the record of the last result that was finished; None where there is none."""
    folder = lease_folder(place)
    for number in reversed(numbers_of(store.list(folder))):
        found = read_lease(store, folder, number)
        if found.finished is not None:
            return found
    return None


def sign(token: Token, beats: int, *, released: bool = False) -> None:
    """Says that the holder of a token is alive, or that it holds the lease no more."""
    said = Sign(beats=beats, time=time.time(), released=released)
    token.store.write(said.model_dump_json().encode(), token.folder, f"{token.name}.alive.json")


def _wait_for_end(store: Store, place: str, last: LeaseRecord, say: Callable[[str], None]) -> None:
    """Returns once a holder has ended, or said nothing for LEASE_SECONDS; else raises HeldError."""
    first = found = _last_sign(store, place, last.number)
    deadline = time.monotonic() + LEASE_SECONDS
    if time.time() - (first.time if first else last.time) > LONG_AGO:
        return
    told = False
    while time.monotonic() < deadline:
        if found is not None and found.released:
            return
        if found != first:
            raise HeldError(
                f"{described(place)} is held by {last.holder} since {_clock(last.time)}, which is "
                f"alive: wait for its end, "
                + (f"`flowkd cancel {last.holder.job}`" if last.holder.job else "stop it")
                + ", or choose another name"
            )
        if not told:
            say(
                f"{described(place)} was held by {last.holder} since {_clock(last.time)}: waiting "
                f"up to {LEASE_SECONDS:g} s to see whether it is alive"
            )
            told = True
        time.sleep(LOOK_SECONDS)
        found = _last_sign(store, place, last.number)


def _last_sign(store: Store, place: str, number: int) -> Sign | None:
    path = (lease_folder(place), f"{number:08}.alive.json")
    if not store.exists(*path):
        return None
    try:
        return Sign.model_validate_json(store.read(*path), extra="ignore")
    except ValidationError:
        return None


def numbers_of(names: list[str]) -> list[int]:
    """Returns the numbers that were taken, by the names in a folder of leases."""
    return sorted(int(match[1]) for match in map(TAKEN.fullmatch, names) if match)


def read_lease(store: Store, folder: str, number: int) -> LeaseRecord:
    """Returns the record of a number; of one that is damaged, only the number counts."""
    try:
        data = store.read(folder, f"{number:08}.json")
        return LeaseRecord.model_validate_json(data, extra="ignore")
    except ValidationError:
        nobody = Holder(host="an unknown machine", machine="", process=0)
        return LeaseRecord(number=number, holder=nobody, time=0, nonce="")


def _record(number: int, **finished: Any) -> bytes:
    found = LeaseRecord(
        number=number, holder=Holder.this(), time=time.time(), nonce=uuid.uuid4().hex, **finished
    )
    return json.dumps(found.model_dump(mode="json"), indent=2).encode() + b"\n"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
