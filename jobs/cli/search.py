"""`flowkd search`, which `python -m jobs.search` is too, and `flowkd search status`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.storage import StorageConfig
from jobs.cli.boundary import Group
from jobs.cli.console import (
    NOTHING_AGAINST_IT,
    CheckOnly,
    Json,
    Overrides,
    PlainConsole,
    StoreUri,
    opened_store,
)
from jobs.cli.interrupted import says_if_interrupted
from jobs.cli.lazy import example

if TYPE_CHECKING:  # tuning needs torch, and takes seconds to import
    from tuning.config import SearchConfig
    from tuning.status import Status

Config = Annotated[Path | None, typer.Option(help="YAML file; see jobs/configs/search.")]
Resume = Annotated[bool, typer.Option(help="Go on with the search of this name, if there is one.")]

app = typer.Typer(
    cls=Group,
    add_completion=False,
    epilog=example("flowkd search --config search.yaml"),
)
console = PlainConsole()


@app.callback(invoke_without_command=True)
def search_command(
    context: typer.Context,
    config: Config = None,
    store: StoreUri = None,
    set_: Overrides = None,
    resume: Resume = False,
    check: CheckOnly = False,
) -> None:
    """Search the best student of a teacher within a budget, train it in full and publish it."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise typer.BadParameter("expected a file; got none", param_hint="--config")
    from flowkd.config import load_config
    from jobs.checks import check_job
    from tuning.config import SearchConfig
    from tuning.records import SearchRecords

    settings = load_config(SearchConfig, config, set_ or ())
    storage = StorageConfig.from_uri(store)
    check_job(settings, storage)
    SearchRecords(storage.store(), settings.name).check(settings, resume)
    if check:
        print(NOTHING_AGAINST_IT)
        return
    run_search(settings, storage, resume=resume)


@app.command("status", epilog=example("flowkd search status NAME"))
def status_command(name: str, store: StoreUri = None, as_json: Json = False) -> None:
    """Show how far a search is."""
    from tuning.status import read_status, status_table

    with opened_store(store) as opened:
        status = read_status(opened, name)
    if as_json:
        print(json.dumps(asdict(status)))
    else:
        console.print(status_table(status), soft_wrap=False)


@app.command("report", epilog=example("flowkd search report NAME"))
def report_command(name: str, store: StoreUri = None) -> None:
    """Write the report of a search as far as it is, and tell where."""
    from tuning.records import SearchRecords
    from tuning.report.page import write_report
    from tuning.status import no_search

    with opened_store(store) as opened:
        records = SearchRecords(opened, name)
        config = records.config()
        if config is None:
            raise no_search(opened, name)
        config = records.pin(config)
        write_report(config, records, records.trials(), records.read("outcome.json"))
        console.print(f"report    {records.folder}/report.html in {opened}")


def run_search(config: SearchConfig, storage: StorageConfig, *, resume: bool = False) -> None:
    """Searches, concludes and reports, and shows how far it is."""
    from tuning.records import SearchRecords
    from tuning.search import search

    kept = f"searches/{config.name} keeps its trials: the same command with --resume goes on"
    with says_if_interrupted(kept), _Display() as display:
        outcome = search(config, storage, resume=resume, show=display.show, tell=console.print)
    if display.gained:
        console.print(display.gained)
    if outcome is not None and outcome["refused"]:
        console.print(f"not published: {outcome['refused']}")
    elif outcome is not None:
        console.print(f"published {outcome['published']}")
    store = storage.store()
    folder = SearchRecords(store, config.name).folder
    console.print(f"report    {folder}/report.html in {store}")


class _Display:
    """A live table on a terminal; elsewhere a line for each trial that ends.

    Attributes:
        gained: By how much the best trial is better than the baselines, in words.
    """

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._said: set[int] = set()
        self._stage = ""
        self.gained = ""

    def __enter__(self) -> _Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: Status) -> None:
        """Shows how far a search is."""
        from tuning.gains import gains_in_words
        from tuning.status import status_table

        self.gained = gains_in_words(status.rows)
        if self._live is not None:
            self._live.update(status_table(status), refresh=True)
            return
        if status.stage != self._stage:
            console.print(status.stage)
            self._stage = status.stage
        for row in status.rows:
            if row.state != "running" and row.number not in self._said:
                self._said.add(row.number)
                bits = "" if row.bits_per_dim is None else f", {row.bits_per_dim:.4f} bits/dim"
                console.print(
                    f"  trial {row.number}: {row.state} after {row.step} steps{bits}; {row.note}"
                )
