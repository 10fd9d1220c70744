"""How a job is called: python -m jobs.NAME --config FILE [--store URI] [--set key.path=value]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from cluster.storage import StorageConfig
from flowkd.config import load_config
from jobs.cli.boundary import Command
from jobs.cli.console import Overrides, StoreUri

C = TypeVar("C", bound=BaseModel)


def run_job(kind: type[C], job: Callable[[C, StorageConfig], object]) -> None:
    """Reads the command line and calls a job; it ends as `cluster.exits` says."""

    def command(
        config: Annotated[Path, typer.Option(help="YAML file; see jobs/configs.")],
        store: StoreUri = None,
        set_: Overrides = None,
    ) -> None:
        job(load_config(kind, config, set_ or ()), StorageConfig.from_uri(store))

    command.__doc__ = job.__doc__
    run_command(command)


def run_command(function: Callable[..., None]) -> None:
    """Runs a function as the only command of this process."""
    app = typer.Typer(add_completion=False)
    app.command(cls=Command)(function)
    app()
