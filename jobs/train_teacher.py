"""Trains a flow by maximum likelihood: a teacher, or a plain student."""

from __future__ import annotations

from cluster.storage import StorageConfig
from flowkd.errors import ConfigError
from flowkd.training.config import TrainingConfig
from jobs.checks import check_job
from jobs.cli.entry import run_job
from jobs.cli.progress import train_with_progress


def check_teacher(config: TrainingConfig, storage: StorageConfig) -> None:
    """Raises FlowkdError for what can be known before it begins."""
    if config.objective.kind != "maximum_likelihood":
        raise ConfigError(
            f"objective.kind: expected maximum_likelihood; got {config.objective.kind}: "
            f"python -m jobs.distill trains on a teacher"
        )
    check_job(config, storage)


def train_teacher(config: TrainingConfig, storage: StorageConfig) -> None:
    """Train a flow by maximum likelihood."""
    print(f"trained {train_with_progress(config, storage)}")


if __name__ == "__main__":
    run_job(TrainingConfig, train_teacher, check_teacher, local=True)
