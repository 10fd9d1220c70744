"""`python -m jobs.capacity`: trains, measures and documents students of many shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowkd.config import load_config
from jobs.cli.boundary import Command
from jobs.cli.console import CheckOnly, StoreUri
from jobs.studies.capacity_config import CapacityConfig
from jobs.studies.capacity_document import write_capacity
from jobs.studies.capacity_results import capacity_results
from jobs.studies.results import Results
from jobs.studies.writing import write_results
from jobs.study_command import DocumentFile, FiguresFile, Replace, StudyOptions, Train, Workers

app = typer.Typer(add_completion=False)


@app.command(cls=Command)
def main(
    config: Annotated[Path, typer.Option(help="YAML file; see jobs/configs/capacity.")],
    store: StoreUri = None,
    results: FiguresFile = None,
    document: DocumentFile = None,
    workers: Workers = None,
    replace: Replace = False,
    train: Train = True,
    check: CheckOnly = False,
) -> None:
    """Train, measure and document students of many shapes; what is done is not done again."""
    capacity = load_config(CapacityConfig, config)

    def write(found: Results, results: Path, document: Path) -> None:
        points = capacity_results(capacity, found)
        write_results(points, results)
        command = f"python -m jobs.capacity --config {config}"
        write_capacity(points, capacity.about, document, command)

    options = StudyOptions(store, results, document, workers, replace, train, check)
    options.conduct("capacity", [capacity.name], [capacity.study()], write)


if __name__ == "__main__":
    app()
