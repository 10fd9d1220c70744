"""How a job is called: python -m jobs.NAME --config FILE [--store URI] [--set key.path=value]."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from cluster.storage import StorageConfig
from flowkd.config import load_config
from flowkd.errors import FlowkdError, StoppedError

AGAIN = 75  # what sysexits.h calls a temporary failure; the queue always tries it again

C = TypeVar("C", bound=BaseModel)


def run_job(kind: type[C], job: Callable[[C, StorageConfig], object]) -> None:
    """Reads the command line and calls a job; a user's error ends with its message and status 1.

    A training that was stopped ends with AGAIN.
    """

    def command(
        config: Annotated[Path, typer.Option(help="YAML file; see jobs/configs.")],
        store: Annotated[
            str | None, typer.Option(help="Root URI of the store; default FLOWKD_STORE or ./store.")
        ] = None,
        set_: Annotated[
            list[str] | None, typer.Option("--set", help="key.path=value, over the file's.")
        ] = None,
    ) -> None:
        try:
            job(load_config(kind, config, set_ or ()), StorageConfig.from_uri(store))
        except FlowkdError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(AGAIN if isinstance(error, StoppedError) else 1) from error

    command.__doc__ = job.__doc__
    typer.run(command)
