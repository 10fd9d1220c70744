"""The index of the archive: a row for each job that moved there, in objects of many rows.

Every move writes an object of its own, so that no two writers meet. When there are MERGE objects of
a level, they become one of the next: all rows of 100,000 jobs lie in a few hundred objects.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from cluster.queue.job import Job
from cluster.queue.messages import JobRow
from cluster.queue.spec import Resources
from flowkd.config import Config
from flowkd.errors import StoreError
from flowkd.store.sealed import seal_line, unseal_line
from flowkd.store.store import Store

INDEX = "queue-ended/index"
NAME = re.compile(r"([0-9])-([0-9]{13})-[0-9a-f]{8}\.jsonl")
MERGE = 64
TRIES = 5  # while objects are merged as they are read


class EndedJob(Config):
    """A row of the index.

    Attributes:
        job: Id of the job.
        moved: When it moved, by the dispatcher's clock, seconds since 1970.
        row: As the table had it; None where it was removed from the archive.
        resources: What its last attempt held.
        started: When that began to run, seconds since 1970; 0 if it did not.
        ended: When it ended.
    """

    job: str
    moved: float
    row: JobRow | None = None
    resources: Resources = Resources()
    started: float = 0.0
    ended: float = 0.0

    @classmethod
    def of(cls, job: Job, row: JobRow, now: float) -> EndedJob:
        """Returns the row of a job that moves now."""
        return cls(
            job=job.id,
            moved=now,
            row=row,
            resources=job.spec.resources,
            started=job.state.started_at,
            ended=job.state.ended_at,
        )


class ArchiveIndex:
    """The rows of an archive.

    Args:
        store: The store.

    Attributes:
        damaged: Names of objects that have lines which cannot be read, as far as they were read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.damaged: set[str] = set()

    def add(self, rows: Sequence[EndedJob]) -> None:
        """Writes rows, and merges objects where there are many."""
        lines = [seal_line(row.model_dump(mode="json", exclude_defaults=True)) for row in rows]
        self._write(0, max(row.moved for row in rows), lines)
        self._merge()

    def rows(self) -> list[EndedJob]:
        """Returns the row of each job in the archive, the oldest first.

        Raises:
            StoreError: The store cannot be read.
        """
        last: dict[str, EndedJob] = {}
        for row in sorted(self._read_all(), key=lambda row: row.moved):
            last.pop(row.job, None)  # so that the order is that of the last moves
            last[row.job] = row
        return [row for row in last.values() if row.row is not None]

    def newest(self, count: int) -> list[EndedJob]:
        """Returns at least so many of the newest rows, if there are as many."""
        found: list[EndedJob] = []
        for name in sorted(self._names(), key=_time_of, reverse=True):
            if len(found) >= count:
                break
            found += self._parsed(name, self._store.read(INDEX, name))
        return [row for row in found if row.row is not None]

    def _names(self) -> list[str]:
        return [name for name in self._store.list(INDEX) if NAME.fullmatch(name)]

    def _read_all(self) -> list[EndedJob]:
        for left in reversed(range(TRIES)):
            try:
                return [
                    row
                    for name in self._names()
                    for row in self._parsed(name, self._store.read(INDEX, name))
                ]
            except StoreError as error:  # merged since it was listed
                if not left or not isinstance(error.__cause__, FileNotFoundError):
                    raise
        return []

    def _parsed(self, name: str, data: bytes) -> Iterator[EndedJob]:
        for line in data.splitlines():
            values = unseal_line(line)
            try:
                if values is None:
                    raise ValueError("damaged")
                yield EndedJob.model_validate(values, extra="ignore")
            except (ValidationError, ValueError):
                self.damaged.add(f"{INDEX}/{name}")

    def _write(self, level: int, time: float, lines: Iterable[bytes]) -> None:
        name = f"{level}-{int(time * 1000):013}-{uuid.uuid4().hex[:8]}.jsonl"
        self._store.write(b"".join(lines), INDEX, name)

    def _merge(self) -> None:
        """Makes one object of each MERGE of a level: it is written before they are removed."""
        levels: dict[int, list[str]] = defaultdict(list)
        for name in self._names():
            levels[int(name[0])].append(name)
        for level, names in levels.items():
            if len(names) < MERGE or level == 9:
                continue
            data = [self._store.read(INDEX, name) for name in names]
            self._write(level + 1, max(map(_time_of, names)) / 1000, data)
            for name in names:
                self._store.remove(INDEX, name)


def _time_of(name: str) -> int:
    return int(name.split("-")[1])
