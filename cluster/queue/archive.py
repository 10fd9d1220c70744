"""Jobs that have ended move from `queue/` to an archive, which no look at the queue reads.

A job moves in three steps: its folder is copied to `queue-ended/jobs/`, its spec last; a row of it
is written to the index; its folder is removed from the queue, its spec first. It is in the queue as
long as its spec is there, and else in the archive, as soon as its spec is there. So wherever a move
is cut short, it is in one of the two and whole, and another move goes on from where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from cluster.queue.archive_index import ArchiveIndex, EndedJob
from cluster.queue.job import Job
from cluster.queue.records import ENDED_JOBS, QUEUE, QueueRecords
from cluster.queue.table import row_of
from flowkd.errors import StoreError
from flowkd.names import is_name

BATCH = 16  # jobs that move together, on as many threads


class Archive:
    """The archive of a queue.

    Args:
        records: The queue's part of the store.

    Attributes:
        index: Its rows, one for each move.
    """

    def __init__(self, records: QueueRecords) -> None:
        assert records.ended is not None
        self._live, self._ended = records, records.ended
        self.index = ArchiveIndex(records.store)
        self._stuck: set[str] = set()

    def movable(self, jobs: Sequence[Job]) -> list[Job]:
        """Returns those of jobs that did not fail to move before."""
        return [job for job in jobs if job.id not in self._stuck]

    def keep(self, jobs: Sequence[Job]) -> list[Job]:
        """Moves jobs that have ended to the archive.

        One that cannot be copied stays in the queue, and is not tried again by this process.

        Returns:
            Those that were moved.

        Raises:
            StoreError: The store cannot be written.
        """
        with ThreadPoolExecutor(BATCH) as threads:
            copied = list(threads.map(self._copy, jobs))
        moved = [job for job, done in zip(jobs, copied, strict=True) if done]
        if moved:
            now = self._live.clock()
            self.index.add([EndedJob.of(job, row_of(job, None, now), now) for job in moved])
            with ThreadPoolExecutor(BATCH) as threads:
                list(threads.map(self._leave_queue, (job.id for job in moved)))
        return moved

    def _copy(self, job: Job) -> bool:
        try:
            self._live.store.copy(f"{QUEUE}/{job.id}", f"{ENDED_JOBS}/{job.id}")
        except StoreError as error:
            self._live.jobs()  # which fails as well if the store is away
            self._stuck.add(job.id)
            print(f"dispatcher: job {job.id} stays in the queue: {error}", flush=True)
            return False
        return True

    def _leave_queue(self, job: str) -> None:
        self._live.store.remove(QUEUE, job, "spec.json")
        self._live.remove(job)

    def tidy(self, name: str) -> bool:
        """Removes what is left in the queue of a job that is in the archive; False for another."""
        if not self._ended.exists(name):
            return False
        self._live.remove(name)
        return True

    def restore(self, job: str) -> None:
        """Copies a job back into the queue; what is in the archive is replaced by its next move."""
        self._live.store.copy(f"{ENDED_JOBS}/{job}", f"{QUEUE}/{job}")

    def expire(self, before: float, needed: Collection[str]) -> None:
        """Removes jobs that ended before a time, BATCH of them at most.

        Args:
            before: Seconds since 1970.
            needed: Ids of jobs that others wait for.
        """
        left = BATCH
        for row in self.index.rows():
            if not left:
                return
            again = self._live.exists(row.job) if row.ended < before else True
            if row.ended < before and row.job not in needed and not again:
                self.forget(row.job)
                left -= 1

    def forget(self, job: str) -> None:
        """Removes a job from the archive."""
        if not is_name(job):
            return
        if self._ended.exists(job):
            self.index.add([EndedJob(job=job, moved=self._live.clock())])
            self._live.store.remove(ENDED_JOBS, job, "spec.json")
        self._ended.remove(job)
