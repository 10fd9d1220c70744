"""What the commands of studies share: their options, and what is done with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cluster.storage import StorageConfig
from jobs.cli.console import NOTHING_AGAINST_IT
from jobs.studies.checks import check_studies
from jobs.studies.config import StudyConfig
from jobs.studies.results import Results
from jobs.studies.run import run_studies

Workers = Annotated[int | None, typer.Option(min=1, help="Runs at once; default what fits.")]
Replace = Annotated[bool, typer.Option(help="Import and train anew what has another config.")]
Train = Annotated[bool, typer.Option(help="Or only measure and document what there is.")]
FiguresFile = Annotated[
    Path | None, typer.Option("--results", help="The figures; default results/KIND-NAME.json.")
]
DocumentFile = Annotated[
    Path | None, typer.Option("--document", help="Their document; default beside the figures.")
]


@dataclass(frozen=True)
class StudyOptions:
    """The options of a command of studies.

    Attributes:
        store: As the command line has it.
        results: File of the figures; None: named after the studies.
        document: File of their document; None: beside the figures.
        workers: The most runs at once; None: what fits.
        replace: Whether what has another config is imported and trained anew.
        train: Whether to train at all.
        check: Whether to check the studies alone.
    """

    store: str | None
    results: Path | None
    document: Path | None
    workers: int | None
    replace: bool
    train: bool
    check: bool

    def conduct(
        self,
        kind: str,
        names: list[str],
        studies: list[StudyConfig],
        write: Callable[[Results, Path, Path], None],
    ) -> bool:
        """Runs studies and has what was found written; False where they were only checked.

        Args:
            kind: What the files are named after, before the names.
            names: Of what is written up.
            studies: What is run.
            write: Writes figures and document into two files.

        Raises:
            Exit: With status 1, if a run failed that may be tried again.
        """
        storage = StorageConfig.from_uri(self.store)
        if self.check:
            check_studies(studies, storage, replace=self.replace)
            print(NOTHING_AGAINST_IT)
            return False
        found, broken = run_studies(
            studies, storage, workers=self.workers, replace=self.replace, train=self.train
        )
        results, document = places(kind, names, self.results, self.document)
        write(found, results, document)
        print(f"results   {results.resolve()}\ndocument  {document.resolve()}")
        if broken:
            print("error: some runs failed; call again to try them again", file=sys.stderr)
            raise typer.Exit(1)
        return True


def places(
    kind: str, names: list[str], results: Path | None, document: Path | None
) -> tuple[Path, Path]:
    """Returns where figures and document go: as asked for, or else beside each other.

    >>> places("study", ["stars"], None, None)
    (PosixPath('results/study-stars.json'), PosixPath('results/study-stars.md'))
    """
    results = results or Path("results", f"{kind}-{'-'.join(names)}.json")
    return results, document or results.with_suffix(".md")
