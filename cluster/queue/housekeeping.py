"""What a dispatcher does with jobs that have ended: most move to the archive, old ones go for good.

What an archived job used counts for its owner's fair share on: sums stay in memory, of each owner
and kind of process one.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.queue.archive import BATCH, Archive
from cluster.queue.config import QueueConfig
from cluster.queue.events import ENDED
from cluster.queue.known_jobs import KnownJobs
from cluster.queue.line import PastUse, Use, summed
from cluster.queue.records import QueueRecords

REMEMBERED = 2000  # archived jobs whose use a dispatcher that begins reads
EXPIRY_SECONDS = 600.0  # between two looks for archived jobs that are too old


class Housekeeping:
    """Keeps the queue small.

    Args:
        records: The queue's part of the store.
        jobs: All jobs that the dispatcher knows.
        config: Says how many ended jobs stay, and for how long the archive keeps them.

    Attributes:
        archive: The archive.
        used: What archived jobs have used.
    """

    def __init__(self, records: QueueRecords, jobs: KnownJobs, config: QueueConfig) -> None:
        self.archive, self._jobs, self._config = Archive(records), jobs, config
        self.used: list[PastUse] = []
        self._began = False
        self._expired = float("-inf")

    def begin(self, now: float) -> None:
        """Reads what archived jobs have used, the first time that it is called.

        Raises:
            StoreError: The store cannot be read.
        """
        if not self._began:
            rows = self.archive.index.newest(REMEMBERED)
            self._count(
                Use(row.row.owner, row.resources, row.started, row.ended)
                for row in rows
                if row.row is not None and row.started
            )
            self._began, self._expired = True, now

    def tick(self, now: float) -> None:
        """Moves the jobs to the archive that ended first, if enough have, and removes old ones.

        Raises:
            StoreError: The store cannot be written.
        """
        needed = {name for job in self._jobs.in_state("queued") for name in job.spec.depends_on}
        ended = self.archive.movable(self._jobs.in_state(*ENDED))
        if len(ended) >= self._config.keep_ended + BATCH:
            free = [job for job in ended if job.id not in needed]
            free.sort(key=lambda job: job.state.ended_at)
            moved = self.archive.keep(free[:BATCH])
            for job in moved:
                del self._jobs.known[job.id]
            self._count(
                Use(job.spec.owner, job.spec.resources, job.state.started_at, job.state.ended_at)
                for job in moved
                if job.state.started_at
            )
        days = self._config.archive_days
        if days is not None and now - self._expired >= EXPIRY_SECONDS:
            self._expired = now
            self.archive.expire(now - days * 86_400, needed)

    def _count(self, uses: Iterable[Use]) -> None:
        half_life = self._config.limits.line.half_life
        if half_life is not None:
            self.used = summed([*self.used, *uses], half_life)
