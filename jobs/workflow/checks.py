"""A workflow checked whole before its first stage begins."""

from __future__ import annotations

from pydantic import BaseModel

from cluster.storage import StorageConfig
from cluster.train.preflight import check_name, result_of
from flowkd.data.importers.prepare import PrepareConfig, kept_manifest
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from jobs.checks import check_job, makes
from jobs.workflow.config import WorkflowConfig, stages


def check_workflow(config: WorkflowConfig, storage: StorageConfig) -> None:
    """Raises FlowkdError for what can be known of each stage before the first one begins."""
    coming: set[str] = set()
    for _, settings in stages(config).values():
        check_job(settings, storage, coming=coming)
        if isinstance(settings, TrainingConfig):
            check_name(settings, storage.store())
        if not _is_there(settings, storage.store()):
            coming |= makes(settings)


def _is_there(config: BaseModel, store: Store) -> bool:
    """Tells whether what a stage makes is there already, so that others can be checked with it."""
    if isinstance(config, PrepareConfig):
        return kept_manifest(config.root, store) is not None
    if isinstance(config, TrainingConfig):
        return result_of(config, store) is not None
    return False
