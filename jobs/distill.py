"""Distils a teacher into a student."""

from __future__ import annotations

from cluster.storage import StorageConfig
from flowkd.errors import ConfigError
from flowkd.training.config import TrainingConfig
from jobs.checks import check_job
from jobs.cli.entry import run_job
from jobs.cli.progress import train_with_progress


def check_distillation(config: TrainingConfig, storage: StorageConfig) -> None:
    """Raises FlowkdError for what can be known before it begins."""
    if config.objective.kind != "distillation":
        raise ConfigError(
            f"objective.kind: expected distillation; got {config.objective.kind}: "
            f"python -m jobs.train_teacher trains on data alone"
        )
    check_job(config, storage)


def distill(config: TrainingConfig, storage: StorageConfig) -> None:
    """Distil a teacher, a finished run or a published model, into a student."""
    print(f"distilled {train_with_progress(config, storage)}")


if __name__ == "__main__":
    run_job(TrainingConfig, distill, check_distillation, local=True)
