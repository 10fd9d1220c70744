"""What a study can be checked for before it imports, trains or starts anything."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.storage import StorageConfig, check, check_place
from cluster.train.preflight import check_shared, check_training, check_warmup
from flowkd.data.importers.prepare import kept_manifest
from flowkd.errors import ConfigError
from jobs.studies.config import StudyConfig
from jobs.studies.plan import Choices, PlannedRun, check_names, plan


def check_studies(
    configs: Sequence[StudyConfig], storage: StorageConfig, *, replace: bool = False
) -> None:
    """Checks studies as far as it can be before they begin; nothing is written but a probe.

    Args:
        configs: The studies, which go on together.
        storage: Holds runs, data sets and studies.
        replace: Whether data sets and runs of another config may be replaced.

    Raises:
        FlowkdError: What the studies would raise, maybe hours later: two of one name, a warm-up
            that never ends, a store that cannot be written; and, where the data set is there
            already, flows that do not fit it and runs of another config.
    """
    names = [config.name for config in configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"expected studies of different names; got {names}: rename one")
    check_place(storage.store())
    check(storage.store())
    check_shared(storage)
    check_names([run for config in configs for run in _all_runs(config)])
    for config in configs:
        for part in ("teacher", "student"):
            try:
                check_warmup(getattr(config, part).train)
            except ConfigError as error:
                raise ConfigError(f"study {config.name!r}, {part}.{error}") from error
    for config in configs:
        there = kept_manifest(config.dataset, storage.store(), replace=replace)
        if there is None or config.folds is not None or replace:
            continue
        for run in plan(config):  # the teachers, and the students that learn from data alone
            check_training(run.config, storage)


def _all_runs(config: StudyConfig) -> list[PlannedRun]:
    """Returns the runs that the study has at least, whatever its results decide."""
    steps = config.student.train.steps
    matched = {name: steps for name, arm in config.arms.items() if arm.cpu_matched_to}
    return plan(config, Choices(config.learning_rates[0], matched))
