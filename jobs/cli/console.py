"""How the command `flowkd` opens stores, prints, and fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster.storage import StorageConfig
from flowkd.errors import FlowkdError
from flowkd.store.store import Store

StoreUri = Annotated[
    str | None, typer.Option("--store", help="Root URI; default FLOWKD_STORE or ./store.")
]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


@contextmanager
def opened_store(uri: str | None) -> Iterator[Store]:
    """Yields the store of a URI, None for the default; an error becomes its message and exit 1."""
    with plain_errors():
        yield StorageConfig.from_uri(uri).store()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns an error for users into its message and exit 1."""
    try:
        yield
    except FlowkdError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def say(
    rows: Sequence[dict[str, Any]], as_json: bool, columns: Sequence[str] | None = None
) -> None:
    """Prints rows as a table of some columns, by default all, or whole as JSON."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    names = columns or list(rows[0]) if rows else []
    Console(width=max(120, Console().width), highlight=False, soft_wrap=True).print(
        make_table(rows, names) if rows else "none"
    )


def make_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    """Returns rows as a table of some columns."""
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    return table


def say_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Prints named values one below the other, or as JSON."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    say([{"": key.replace("_", " "), "value": value} for key, value in facts.items()], False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_cell(inner)}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
