"""Jobs checked before the queue accepts them: what they read is there, or other jobs make it."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.queue.events import ENDED
from cluster.queue.records import QueueRecords
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


def _coming(records: QueueRecords) -> set[str]:
    """Returns what the jobs make that wait or run."""
    table = records.table()
    ended = {row.job for row in table.rows if row.state in ENDED} if table else set()
    found: set[str] = set()
    for job in set(records.jobs()) - ended:
        spec = records.spec(job).spec
        if spec.kind in KINDS:
            found |= makes(check_config(spec.kind, spec.config, f"job {job!r}"))
    return found
