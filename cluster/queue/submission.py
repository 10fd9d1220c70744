"""What is refused when a job is submitted, and why; all else is accepted and never lost."""

from __future__ import annotations

from cluster.queue.admission import fits_ever
from cluster.queue.job import JobSpec
from cluster.queue.records import QueueError, Records


def submit(records: Records, spec: JobSpec) -> bool:
    """Accepts a job, unless it could never run; False if it was accepted before.

    The limit of waiting jobs is that of the dispatcher's last table: several who submit at once
    can exceed it by a few.

    Args:
        records: Of the queue.
        spec: What to run.

    Raises:
        QueueError: There is another job of its id, a job that it depends on is not there, the queue
            is full, or no node of the cluster has what it takes.
        StoreError: The store cannot be written: nothing was accepted.
    """
    if not records.exists(spec.id):
        _check(records, spec)
    return records.accept(spec)


def _check(records: Records, spec: JobSpec) -> None:
    for name in spec.depends_on:
        if not records.exists(name):
            raise QueueError(f"job {spec.id!r} depends on {name!r}, which is not in the queue")
    table = records.table()
    if table is None:
        return
    if table.nodes and not fits_ever(spec.resources, table.nodes):
        raise QueueError(
            f"job {spec.id!r} takes {spec.resources.workers} times {spec.resources.of_each()}, and "
            f"the cluster's nodes have {table.nodes}: ask for less, or add nodes"
        )
    waiting = sum(row.state == "queued" for row in table.rows)
    unseen = len(set(records.jobs()) - {row.job for row in table.rows})
    if table.limits.queued is not None and waiting + unseen >= table.limits.queued:
        raise QueueError(
            f"{waiting + unseen} jobs wait, and the queue takes {table.limits.queued}: submit "
            f"{spec.id!r} again when some have started, or raise limits.queued"
        )
