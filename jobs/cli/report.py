"""`flowkd report`: the page of a comparison, or of a single run or model, written to a file."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from flowkd.errors import StoreError
from flowkd.store.store import Store
from flowkd.text import visible
from jobs.cli.console import StoreUri, hint, opened_store


def report_command(
    what: Annotated[
        str, typer.Argument(help="Name of a comparison, runs/RUN or models/NAME@VERSION_OR_ALIAS.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="File of the page; default its name with .html, here.")
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Not the page of a comparison that the store keeps.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
    store: StoreUri = None,
) -> None:
    """Write the report of a comparison, a run or a model as one HTML file."""
    with opened_store(store) as opened:
        page = _page(opened, what, anew)
    path = output or Path(f"{what.split('/')[-1].replace('@', '-')}.html")
    if not path.parent.is_dir():
        raise StoreError(f"--output: there is no folder {path.parent}: make it, or name another")
    path.write_text(page, encoding="utf-8")
    print(visible(f"report   {path.resolve()}"))
    if open_ and not webbrowser.open(path.resolve().as_uri()):
        hint("no browser was found to show it: open the file in one")


def _page(store: Store, what: str, anew: bool) -> str:
    # matplotlib and torch take seconds to import
    from flowkd.report.from_store import artifact_report, comparison_report, read_comparison
    from flowkd.report.page import render
    from flowkd.report.stored import read_report

    kept = None if anew or "/" in what else read_report(what, store)
    if kept is not None:
        return kept
    if what.startswith(("runs/", "models/")):
        return render(artifact_report(what, store))
    return render(comparison_report(read_comparison(store, what), store))
