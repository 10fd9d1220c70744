"""`flowkd report`: the page of what the store holds, written to a file."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from flowkd.errors import StoreError
from flowkd.store.store import Store
from flowkd.text import visible
from jobs.cli.console import StoreUri, hint, opened_store

KINDS = ("runs", "models", "searches", "studies", "evaluations")


def report_command(
    what: Annotated[
        str,
        typer.Argument(
            help="runs/RUN, models/NAME@VERSION_OR_ALIAS, searches/NAME, studies/NAME, or the name "
            "of a comparison."
        ),
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
    """Write the report of a comparison, run, model, study or search as one HTML file."""
    with opened_store(store) as opened:
        page = _page(opened, *_kind_and_name(opened, what), anew=anew)
    path = output or Path(f"{what.split('/')[-1].replace('@', '-')}.html")
    if not path.parent.is_dir():
        raise StoreError(f"--output: there is no folder {path.parent}: make it, or name another")
    path.write_text(page, encoding="utf-8")
    print(visible(f"report   {path.resolve()}"))
    if open_ and not webbrowser.open(path.resolve().as_uri()):
        hint("no browser was found to show it: open the file in one")


def _kind_and_name(store: Store, what: str) -> tuple[str, str]:
    """Returns which folder of the store is meant, and what of it; a name alone may be of several.

    Raises:
        StoreError: Nothing of that name, or several things.
    """
    folder, _, rest = what.partition("/")
    if rest and folder in KINDS:
        return folder, rest
    names = {
        "evaluations": [
            name.removesuffix(".yaml")
            for name in store.list("evaluations")
            if name.endswith(".yaml")
        ],
        "searches": store.list("searches"),
        "studies": store.list("studies"),
    }
    found = [kind for kind, known in names.items() if what in known]
    if len(found) > 1:
        several = " or ".join(f"{kind}/{what}" for kind in found)
        raise StoreError(f"there are several of the name {what!r} in {store}: ask for {several}")
    if not found:
        listed = [
            name if kind == "evaluations" else f"{kind}/{name}"
            for kind, known in names.items()
            for name in known
        ]
        raise StoreError(
            f"no comparison, search or study {what!r} in {store}; there are "
            f"{', '.join(listed) or 'none'}, and pages of runs/RUN and models/NAME@best"
        )
    return found[0], what


def _page(store: Store, kind: str, name: str, *, anew: bool) -> str:
    # matplotlib and torch take seconds to import
    if kind == "searches":
        from tuning.report.page import search_page

        return search_page(store, name)
    if kind == "studies":
        from jobs.studies.report import study_page

        return study_page(store, name)
    from flowkd.report.from_store import artifact_report, comparison_report, read_comparison
    from flowkd.report.page import render
    from flowkd.report.stored import read_report

    kept = None if anew or kind != "evaluations" else read_report(name, store)
    if kept is not None:
        return kept
    if kind in ("runs", "models"):
        return render(artifact_report(f"{kind}/{name}", store))
    return render(comparison_report(read_comparison(store, name), store))
