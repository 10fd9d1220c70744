"""How a job is called: python -m jobs.NAME --config FILE [--store URI] [--set key.path=value]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from cluster.storage import StorageConfig
from flowkd.config import load_config
from flowkd.training.config import TrainingConfig
from jobs.checks import check_job
from jobs.cli.boundary import Command
from jobs.cli.console import NOTHING_AGAINST_IT, CheckOnly, Overrides, StoreUri

ConfigFile = Annotated[Path, typer.Option(help="YAML file; see jobs/configs.")]
Local = Annotated[bool, typer.Option("--local", help="In this process, without Ray.")]
Cluster = Annotated[bool, typer.Option("--cluster", help="On Ray, be it slower.")]

C = TypeVar("C", bound=BaseModel)


def run_job(
    kind: type[C],
    job: Callable[[C, StorageConfig], object],
    check_before: Callable[[C, StorageConfig], None] = check_job,
    *,
    local: bool = False,
) -> None:
    """Reads the command line, checks a job and calls it; it ends as `cluster.exits` says.

    Args:
        kind: What the job's config file must be.
        job: What is run.
        check_before: Raises FlowkdError for what can be known before; default `check_job`.
        local: Whether it can do without Ray, and takes --local and --cluster.
    """

    def run(config: Path, store: str | None, overrides: Sequence[str], check: bool) -> None:
        settings, storage = load_config(kind, config, overrides), StorageConfig.from_uri(store)
        check_before(settings, storage)
        if check:
            print(NOTHING_AGAINST_IT)
        else:
            job(settings, storage)

    def command(
        config: ConfigFile,
        store: StoreUri = None,
        set_: Overrides = None,
        check: CheckOnly = False,
    ) -> None:
        run(config, store, set_ or (), check)

    def placed(
        config: ConfigFile,
        store: StoreUri = None,
        set_: Overrides = None,
        check: CheckOnly = False,
        local: Local = False,
        cluster: Cluster = False,
    ) -> None:
        run(config, store, [*(set_ or ()), *_place(kind, local, cluster)], check)

    chosen = placed if local else command
    chosen.__doc__ = job.__doc__
    run_command(chosen)


def _place(kind: type[BaseModel], local: bool, cluster: bool) -> list[str]:
    """Returns what --local and --cluster set of a config."""
    if local and cluster:
        raise typer.BadParameter("expected --local or --cluster; got both")
    if kind is TrainingConfig and (local or cluster):
        return [f"scaling.run_on={'local' if local else 'cluster'}"]
    if cluster:
        raise typer.BadParameter("this job has no part on Ray: leave out --cluster")
    return []


def run_command(function: Callable[..., None]) -> None:
    """Runs a function as the only command of this process."""
    app = typer.Typer(add_completion=False)
    app.command(cls=Command)(function)
    app()
