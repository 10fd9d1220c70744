"""`python -m jobs.capacity`: trains, measures and documents students of many shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.storage import StorageConfig
from flowkd.config import load_config
from jobs.cli.boundary import Command
from jobs.cli.console import NOTHING_AGAINST_IT, CheckOnly, StoreUri
from jobs.studies.capacity_config import CapacityConfig
from jobs.studies.capacity_document import write_capacity
from jobs.studies.capacity_results import capacity_results
from jobs.studies.checks import check_studies
from jobs.studies.writing import write_results
from jobs.study import (
    DocumentFile,
    FiguresFile,
    Replace,
    Train,
    Workers,
    end,
    places,
    run_studies,
)

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
    studies, storage = [capacity.study()], StorageConfig.from_uri(store)
    if check:
        check_studies(studies, storage, replace=replace)
        print(NOTHING_AGAINST_IT)
        return
    found, broken = run_studies(studies, storage, workers=workers, replace=replace, train=train)
    points = capacity_results(capacity, found)
    results, document = places("capacity", [capacity.name], results, document)
    write_results(points, results)
    write_capacity(points, capacity.about, document, f"python -m jobs.capacity --config {config}")
    end(results, document, broken)


if __name__ == "__main__":
    app()
