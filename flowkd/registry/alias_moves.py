"""The moves of an alias as they lie in the store: `models/NAME/aliases/ALIAS/00000007.json`."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime

from flowkd.config import Config, parse_config
from flowkd.errors import ConfigError, StoreError
from flowkd.store.retry import is_transient
from flowkd.store.sealed import read_sealed, seal_json
from flowkd.store.store import Store

MOVE_FILE = re.compile(r"([0-9]{8})\.json")
MOVE_AGAIN = "move the alias again, without expecting a version"


class AliasMove(Config):
    """One move of an alias.

    Attributes:
        number: Counts the moves of an alias, from 1.
        version: Name of the version that the alias was moved to.
        time: When, ISO 8601, by the clock of the process that moved it.
        nonce: Unique to this move.
    """

    number: int
    version: str
    time: str
    nonce: str


def create_move(store: Store, model: str, alias: str, version: str, number: int) -> bool:
    """Writes a move of a number; False if another has it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    pointer = {"version": version, "time": now, "nonce": uuid.uuid4().hex}
    return store.create(seal_json(pointer), alias_folder(model, alias), f"{number:08}.json")


def move_numbers(store: Store, model: str, alias: str) -> list[int]:
    """Returns the numbers of an alias's moves."""
    found = (MOVE_FILE.fullmatch(name) for name in store.list(alias_folder(model, alias)))
    return sorted(int(match[1]) for match in found if match)


def read_move(store: Store, model: str, alias: str, number: int) -> AliasMove:
    """Returns a move; raises StoreError where it is damaged."""
    path = f"{alias_folder(model, alias)}/{number:08}.json"
    try:
        return parse_config(AliasMove, {"number": number, **read_sealed(store, path)}, source=path)
    except ConfigError as error:
        raise StoreError(f"{error}; {MOVE_AGAIN}") from error
    except StoreError as error:
        if is_transient(error):
            raise
        raise StoreError(f"{error}; {MOVE_AGAIN}") from error


def alias_folder(model: str, alias: str) -> str:
    """Returns the folder of an alias's moves."""
    return f"models/{model}/aliases/{alias}"
