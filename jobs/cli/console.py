"""How commands open stores and print: text of users is shown as it is, markup and all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from cluster.storage import StorageConfig, check_place
from flowkd.credentials import values_without_credentials, without_credentials
from flowkd.errors import StoreError
from flowkd.store.store import Store
from flowkd.text import visible
from jobs.cli.sink import done as done
from jobs.cli.sink import hint as hint

StoreUri = Annotated[
    str | None, typer.Option("--store", help="Root URI; default FLOWKD_STORE or ./store.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="key.path=value, over the file's.")
]
CheckOnly = Annotated[
    bool, typer.Option("--check", help="Only check all that can be checked before it begins.")
]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Replace = Annotated[bool, typer.Option("--replace", help="In place of another of this name.")]

LEAST_SHOWN = 1e-3  # a smaller number would lose its digits
NOTHING_AGAINST_IT = "checked: nothing speaks against it"

# What lies at the root of a store.
CONTENTS = frozenset(
    [
        "datasets",
        "runs",
        "models",
        "evaluations",
        "publications",
        "searches",
        "studies",
        "queue",
        "queue-ended",
        "queue-inbox",
        "queue.json",
    ]
)


class PlainConsole(Console):
    """A console that takes no text for markup, an emoji or a number to be coloured.

    Args:
        width: At least so many columns.
    """

    def __init__(self, width: int | None = None) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True)
        if width is not None:
            self.width = max(width, self.width)


@contextmanager
def opened_store(uri: str | None, purpose: Literal["read", "write"] = "read") -> Iterator[Store]:
    """Yields the store of a URI, None for the default.

    Raises:
        StoreError: It is a file, or there is none to read: an empty list would hide a mistyped
            name.
    """
    storage = StorageConfig.from_uri(uri)
    store = storage.store()
    check_place(store)
    if purpose == "read":
        _check_there(store)
    yield store


def _check_there(store: Store) -> None:
    if store.is_local and not Path(store.path()).is_dir():
        found: list[str] | None = None
    else:
        found = store.list() or ([] if store.is_local else None)
    remedy = "correct --store or FLOWKD_STORE; the first import or job makes a store"
    if found is None:
        raise StoreError(f"there is no store {store}: {remedy}")
    found = [name for name in found if not name.startswith(".")]
    if found and CONTENTS.isdisjoint(found):
        raise StoreError(
            f"{store} is no store: expected some of {', '.join(sorted(CONTENTS))} there; got "
            f"{', '.join(found[:5])}: {remedy}"
        )


def say(
    rows: Sequence[dict[str, Any]], as_json: bool, columns: Sequence[str] | None = None
) -> None:
    """Prints rows as a table of some columns, by default all, or whole as JSON."""
    if as_json:
        print(json.dumps(values_without_credentials(rows), indent=2))
        return
    names = columns or list(rows[0]) if rows else []
    PlainConsole(120).print(make_table(rows, names) if rows else "none")


def end_with_damage(damage: Mapping[str, str | None], as_json: bool) -> None:
    """Ends a command with 1 where records are damaged: a line for each that has a reason.

    Args:
        damage: Why each cannot be read, by reference; None where it can.
        as_json: Whether the lines are left out: the rows tell it themselves.
    """
    found = {name: reason for name, reason in damage.items() if reason}
    for name, reason in found.items():
        if not as_json:
            print(visible(f"{name} is damaged: {' '.join(without_credentials(reason).split())}"))
    if found:
        raise typer.Exit(1)


def make_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    """Returns rows as a table of some columns."""
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(visible(_cell(row[name])) for name in columns))
    return table


def say_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Prints named values one below the other, or as JSON."""
    if as_json:
        print(json.dumps(values_without_credentials(facts), indent=2))
        return
    say([{"": key.replace("_", " "), "value": value} for key, value in facts.items()], False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= LEAST_SHOWN or not value else f"{value:.2e}"
    if isinstance(value, list | tuple):
        told = [each if isinstance(each, str) else _cell(each) for each in value]
        return ("\n" if any("." in each and " " in each for each in told) else ", ").join(told)
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_cell(inner)}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) else without_credentials(str(value))
