"""How a job is called: python -m jobs.NAME --config FILE [--store URI] [--set key.path=value]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from cluster.storage import StorageConfig
from flowkd.config import load_config
from jobs.checks import check_job
from jobs.cli.boundary import Command
from jobs.cli.console import CheckOnly, Overrides, StoreUri

NOTHING_AGAINST_IT = "checked: nothing speaks against it"

C = TypeVar("C", bound=BaseModel)


def run_job(
    kind: type[C],
    job: Callable[[C, StorageConfig], object],
    check_before: Callable[[C, StorageConfig], None] = check_job,
) -> None:
    """Reads the command line, checks a job and calls it; it ends as `cluster.exits` says.

    Args:
        kind: What the job's config file must be.
        job: What is run.
        check_before: Raises FlowkdError for what can be known before; default `check_job`.
    """

    def command(
        config: Annotated[Path, typer.Option(help="YAML file; see jobs/configs.")],
        store: StoreUri = None,
        set_: Overrides = None,
        check: CheckOnly = False,
    ) -> None:
        settings, storage = load_config(kind, config, set_ or ()), StorageConfig.from_uri(store)
        check_before(settings, storage)
        if check:
            print(NOTHING_AGAINST_IT)
        else:
            job(settings, storage)

    command.__doc__ = job.__doc__
    run_command(command)


def run_command(function: Callable[..., None]) -> None:
    """Runs a function as the only command of this process."""
    app = typer.Typer(add_completion=False)
    app.command(cls=Command)(function)
    app()
