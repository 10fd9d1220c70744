"""`flowkd run`: one file, from data to a served student, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.storage import StorageConfig
from flowkd.config import load_config
from jobs.cli.console import CheckOnly, Overrides, StoreUri
from jobs.cli.entry import NOTHING_AGAINST_IT
from jobs.workflow.config import WorkflowConfig

File = Annotated[Path, typer.Argument(help="YAML file, as `flowkd new` writes one.")]


def run_file(
    file: File,
    store: StoreUri = None,
    set_: Overrides = None,
    check: CheckOnly = False,
) -> None:
    """Do all that a file asks for, from data to a served student; started again, it goes on.

    Example: flowkd run stars.yaml --set deploy=none
    """
    # What they import takes a second.
    from jobs.cli.run_workflow import run_workflow
    from jobs.workflow.checks import check_workflow

    config = load_config(WorkflowConfig, file, set_ or ())
    storage = StorageConfig.from_uri(store)
    check_workflow(config, storage)
    if check:
        print(NOTHING_AGAINST_IT)
        return
    run_workflow(config, storage)


def add_workflow(app: typer.Typer) -> None:
    """Adds the commands of workflows to an app."""
    app.command("run")(run_file)
