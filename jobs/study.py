"""`python -m jobs.study`: trains, measures and documents studies, one config a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowkd.config import load_config
from jobs.cli.boundary import Command
from jobs.cli.console import CheckOnly, StoreUri, hint
from jobs.studies.config import StudyConfig
from jobs.studies.results import Results
from jobs.studies.writing import write_document, write_results
from jobs.study_command import DocumentFile, FiguresFile, Replace, StudyOptions, Train, Workers

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
    names = [study.name for study in studies]

    def write(found: Results, results: Path, document: Path) -> None:
        write_results(found, results)
        command = f"python -m jobs.study --config {' '.join(map(str, files))}"
        write_document(found, document, command, note)

    options = StudyOptions(store, results, document, workers, replace, train, check)
    if options.conduct("study", names, studies, write):
        for name in names:
            hint(f"flowkd report studies/{name} writes its page")


if __name__ == "__main__":
    app()
