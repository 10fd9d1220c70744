"""Submits jobs: refuses those that could never run, with the reason, and accepts all others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from graphlib import CycleError, TopologicalSorter

from cluster.queue.free import fits_ever
from cluster.queue.messages import QueueTable
from cluster.queue.pipelines import check_names
from cluster.queue.records import QueueError, QueueRecords
from cluster.queue.spec import JobSpec


def submit(records: QueueRecords, spec: JobSpec) -> bool:
    """Accepts a job, unless it could never run, and tells whether it is new; see `submit_all`."""
    return submit_all(records, [spec])[0]


def submit_all(records: QueueRecords, specs: Sequence[JobSpec]) -> list[bool]:
    """Accepts jobs, none if one could never run; tells of each whether it is new.

    The limit of waiting jobs is that of the dispatcher's last table: several who submit at once
    can exceed it by a few.

    Args:
        records: The queue's part of the store.
        specs: Jobs to run; they may depend on those before them.

    Raises:
        QueueError: There is another job of an id, a job that one depends on is not there, the queue
            is full, or the cluster's nodes do not have what one takes.
        StoreError: The store cannot be written: those before the one named were accepted.
    """
    new = [spec for spec in specs if not _is_known(records, spec.id)]
    for spec in specs:
        if spec not in new:
            records.accept(spec)  # which refuses another of its id, and writes nothing
    ours = {spec.id for spec in specs}
    check_names(records, new)
    _check_order(specs)
    table = records.table()
    for spec in new:
        _check_dependencies(records, spec, ours)
        if table is not None:
            _check_kind(spec, table)
            _check_fits(spec, table)
    if table is not None and new:
        _check_room(records, len(new), table)
    return [records.accept(spec) for spec in specs]


def _is_known(records: QueueRecords, job: str) -> bool:
    """Tells whether a job was ever accepted, and not removed since."""
    return records.where(job).exists(job)


def _check_order(specs: Sequence[JobSpec]) -> None:
    """Raises QueueError where jobs wait for each other in a circle."""
    sorter = TopologicalSorter({spec.id: spec.depends_on for spec in specs})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise QueueError(
            f"jobs wait for each other for ever: {circle}: take one of them out of depends_on"
        ) from error


def _check_dependencies(records: QueueRecords, spec: JobSpec, ours: Collection[str]) -> None:
    for name in spec.depends_on:
        if name not in ours and not _is_known(records, name):
            raise QueueError(f"job {spec.id!r} depends on {name!r}, which is not in the queue")


def _check_kind(spec: JobSpec, table: QueueTable) -> None:
    if table.kinds and spec.kind not in table.kinds:
        raise QueueError(
            f"job {spec.id!r}: the queue runs no jobs of kind {spec.kind!r}; expected one of "
            f"{', '.join(table.kinds)}; `commands` of the dispatcher's config adds others"
        )


def _check_fits(spec: JobSpec, table: QueueTable) -> None:
    if not table.nodes or fits_ever(spec.resources, table.nodes):
        return
    each = _listed(spec.resources.of_each())
    raise QueueError(
        f"job {spec.id!r} would never start: it takes {spec.resources.workers} times {each}, and "
        f"the cluster's nodes have {'; '.join(map(_listed, table.nodes))}: ask for less "
        f"(`scaling`), or add nodes"
    )


def _check_room(records: QueueRecords, more: int, table: QueueTable) -> None:
    waiting = sum(row.state == "queued" for row in table.rows)
    waiting += len(set(records.jobs()) - {row.job for row in table.rows})
    if table.limits.max_queued is not None and waiting + more > table.limits.max_queued:
        raise QueueError(
            f"{waiting} jobs wait, and the queue takes {table.limits.max_queued}: submit again "
            f"when some have started, or raise limits.max_queued"
        )


def _listed(amounts: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(amounts.items()))
