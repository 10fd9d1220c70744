"""Jobs checked before the queue accepts them: what they read is there, or other jobs make it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from cluster.queue.events import ENDED
from cluster.queue.records import QueueError, QueueRecords
from cluster.queue.spec import JobSpec
from cluster.storage import StorageConfig
from flowkd.credentials import values_without_credentials
from flowkd.errors import ConfigError, FlowkdError
from jobs.checks import check_job, makes, needs
from jobs.kinds import KINDS, check_config, find_kind


def check_specs(specs: Sequence[JobSpec], records: QueueRecords, storage: StorageConfig) -> None:
    """Checks jobs that follow each other, each as far as it can be before it is its turn.

    Raises:
        FlowkdError: What a job itself would raise, minutes or hours later.
    """
    coming: set[str] = set()
    for spec in specs:
        known = spec.kind in KINDS
        if values_without_credentials(spec.config) != spec.config:
            raise ConfigError(
                f"job {spec.id!r}: expected a config without passwords and tokens, since the queue "
                f"keeps it in the store: give them by the environment of the cluster's nodes"
                + (f", or run {find_kind(spec.kind).module} here" if known else "")
            )
        if not known:  # of the cluster's own, whose config is not ours
            continue
        config = check_config(spec.kind, spec.config, f"job {spec.id!r}")
        try:
            check_job(config, storage, here=False, coming=coming)
        except FlowkdError:
            if needs(config).isdisjoint(_coming(records)):
                raise
        coming |= makes(config)


def jobs_of(run: str, records: QueueRecords) -> list[str]:
    """Returns the jobs, not ended, that make or need a run."""
    return [
        job for job, config in _not_ended(records) if f"runs/{run}" in makes(config) | needs(config)
    ]


def _coming(records: QueueRecords) -> set[str]:
    """Returns what the jobs make that wait or run."""
    return {made for _, config in _not_ended(records) for made in makes(config)}


def _not_ended(records: QueueRecords) -> Iterator[tuple[str, BaseModel]]:
    """Yields id and config of each job that waits or runs, and can be read."""
    table = records.table()
    ended = {row.job for row in table.rows if row.state in ENDED} if table else set()
    for job in sorted(set(records.jobs()) - ended):
        try:
            if records.state(job).state in ENDED:  # since the table was written
                continue
            spec = records.spec(job).spec
            if spec.kind in KINDS:
                yield job, check_config(spec.kind, spec.config, f"job {job!r}")
        except (ConfigError, QueueError):  # damaged: `flowkd queue` shows it
            continue
