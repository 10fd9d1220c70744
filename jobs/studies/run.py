"""Studies done from their data sets to their results, from wherever they are."""

from __future__ import annotations

from cluster.local import connect
from cluster.storage import StorageConfig
from flowkd.config import dump_config
from jobs.importing import import_dataset
from jobs.studies.checks import check_studies
from jobs.studies.choices import advance
from jobs.studies.config import StudyConfig
from jobs.studies.folds import prepare_folds
from jobs.studies.outcomes import RunOutcome
from jobs.studies.results import Results
from jobs.studies.runner import measure_study, time_study, train_studies
from jobs.studies.stored import keep_results
from jobs.studies.writing import collect


def run_studies(
    configs: list[StudyConfig],
    storage: StorageConfig,
    *,
    workers: int | None = None,
    replace: bool = False,
    train: bool = True,
) -> tuple[Results, bool]:
    """Runs studies to their end, from wherever they are.

    Args:
        configs: The studies.
        storage: Holds runs, data sets and studies.
        workers: The most runs at once; default as many as the cluster has CPUs for.
        replace: Whether to train runs anew whose config has changed.
        train: Whether to train at all, or to measure the finished runs only.

    Returns:
        The results, and whether a run failed for another reason than that it diverged.

    Raises:
        ConfigError: Studies of the same name; a run's name taken by one of another config.
    """
    check_studies(configs, storage, replace=replace)
    store = storage.store()
    studies = []
    for config in configs:
        import_dataset(config.dataset, store, replace=replace)
        studies.append((config, prepare_folds(config, store)))
        store.write(dump_config(config).encode(), "studies", config.name, "config.yaml")
    parts = [fold for _, folds in studies for fold in folds]
    connect()
    outcomes: dict[str, RunOutcome] = {}
    waiting = advance(parts, store, outcomes, replace=replace and train)
    broken = False
    if train:
        _say(f"{len(outcomes)} runs have ended before, {len(waiting)} can begin")
        for done in train_studies(parts, storage, outcomes, workers=workers, replace=replace):
            end = done.outcome
            broken |= end.failed is not None and not store.exists("runs", done.run, "failure.json")
            figures = f"{end.validation:.3f} bits/dim, {end.cpu_seconds:.0f} CPU s"
            _say(f"[{done.ended}/{done.known}] {done.run}: {end.failed or figures}")
    _say("measuring likelihood, then throughput")
    figures_of = {
        part.name: measure_study(part, storage, outcomes, workers=workers) for part in parts
    }
    measured = {}
    for _, folds in studies:
        for fold in folds:  # the flows of all folds have the same shapes: the first ones are timed
            ratios = time_study(fold, storage, outcomes) if fold is folds[0] else {}
            measured[fold.name] = (figures_of[fold.name], ratios)
    found = collect(studies, outcomes, measured, store)
    keep_results(found, store)
    return found, broken


def _say(text: str) -> None:
    print(text, flush=True)
