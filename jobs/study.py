"""`python -m jobs.study`: trains, measures and documents studies, one config a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.local import connect
from cluster.storage import StorageConfig
from flowkd.config import dump_config, load_config
from jobs.cli.boundary import Command
from jobs.cli.console import NOTHING_AGAINST_IT, CheckOnly, StoreUri, hint
from jobs.importing import import_dataset
from jobs.studies.checks import check_studies
from jobs.studies.choices import advance
from jobs.studies.config import StudyConfig
from jobs.studies.folds import prepare_folds
from jobs.studies.outcomes import RunOutcome
from jobs.studies.results import Results
from jobs.studies.runner import measure_study, time_study, train_studies
from jobs.studies.stored import keep_results
from jobs.studies.writing import collect, write_document, write_results

Workers = Annotated[int | None, typer.Option(min=1, help="Runs at once; default what fits.")]
Replace = Annotated[bool, typer.Option(help="Import and train anew what has another config.")]
Train = Annotated[bool, typer.Option(help="Or only measure and document what there is.")]
FiguresFile = Annotated[
    Path | None, typer.Option("--results", help="The figures; default results/KIND-NAME.json.")
]
DocumentFile = Annotated[
    Path | None, typer.Option("--document", help="Their document; default beside the figures.")
]


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


app = typer.Typer(add_completion=False)


@app.command(cls=Command)
def main(
    config: Annotated[list[Path], typer.Option(help="YAML file of a study; more may follow.")],
    more: Annotated[list[Path] | None, typer.Argument(help="More of them.")] = None,
    store: StoreUri = None,
    results: FiguresFile = None,
    document: DocumentFile = None,
    workers: Workers = None,
    replace: Replace = False,
    train: Train = True,
    note: Annotated[str, typer.Option(help="What the document's reader should know before.")] = "",
    check: CheckOnly = False,
) -> None:
    """Train, measure and document studies; what is done is not done again."""
    files = [*config, *(more or [])]
    studies = [load_config(StudyConfig, file) for file in files]
    storage = StorageConfig.from_uri(store)
    if check:
        check_studies(studies, storage, replace=replace)
        print(NOTHING_AGAINST_IT)
        return
    found, broken = run_studies(studies, storage, workers=workers, replace=replace, train=train)
    results, document = places("study", [study.name for study in studies], results, document)
    write_results(found, results)
    command = f"python -m jobs.study --config {' '.join(map(str, files))}"
    write_document(found, document, command, note)
    end(results, document, broken)
    for study in studies:
        hint(f"flowkd report studies/{study.name} writes its page")


def places(
    kind: str, names: list[str], results: Path | None, document: Path | None
) -> tuple[Path, Path]:
    """Returns where figures and document go: as asked for, or else beside each other.

    >>> places("study", ["stars"], None, None)
    (PosixPath('results/study-stars.json'), PosixPath('results/study-stars.md'))
    """
    results = results or Path("results", f"{kind}-{'-'.join(names)}.json")
    return results, document or results.with_suffix(".md")


def end(results: Path, document: Path, broken: bool) -> None:
    """Prints where the files lie; exits with status 1 if a run failed that may be tried again."""
    print(f"results   {results.resolve()}\ndocument  {document.resolve()}")
    if broken:
        print("error: some runs failed; call again to try them again", file=sys.stderr)
        raise typer.Exit(1)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    app()
