"""The figures of an evaluation in the store, those of the last process that was allowed to."""

from __future__ import annotations

from typing import Any

from flowkd.store.holdings import held_folder, show_last
from flowkd.store.lease import LeaseRecord, Token
from flowkd.store.sealed import write_sealed, write_sealed_text
from flowkd.store.store import Store

FIGURES, CONFIG = "figures.json", "config.yaml"
KEPT = 4  # numbers back: who stood still while it showed some still finds them


def place_of(name: str) -> str:
    """Returns the place that who makes an evaluation holds."""
    return f"evaluations/{name}"


def keep_figures(token: Token, config: str, figures: dict[str, Any]) -> None:
    """Makes figures those of the evaluation, `evaluations/NAME.json`, with its config beside them.

    Args:
        token: Of the evaluation.
        config: Its config, as YAML.
        figures: By label.

    Raises:
        FencedError: Another process has taken it over.
    """
    store, folder = token.store, held_folder(token)
    write_sealed_text(store, config, folder, CONFIG)
    write_sealed(store, figures, folder, FIGURES)
    token.finish(token.name)
    show_last(store, token.place, lambda last: _show(store, token.place, last))
    for name in store.list(token.place):
        if name.isdecimal() and int(name) < token.number - KEPT:
            store.remove(token.place, name)


def _show(store: Store, place: str, last: LeaseRecord) -> None:
    store.remove(f"{place}.html")  # of figures before these
    for name, suffix in ((CONFIG, "yaml"), (FIGURES, "json")):
        store.write(store.read(place, last.result, name), f"{place}.{suffix}")
