"""Records of the queue as JSON objects of the store, and those that cannot be read."""

from __future__ import annotations

import uuid
from typing import TypeVar

from pydantic import ValidationError

from flowkd.config import Config, parse_config
from flowkd.errors import ConfigError, StoreError
from flowkd.store.store import Store

ASIDE = "queue-damaged"
C = TypeVar("C", bound=Config)


class RecordError(ConfigError):
    """A record that cannot be read: whatever it is about has to wait until it is repaired."""


def read_record(store: Store, kind: type[C], *parts: str) -> C:
    """Reads a record; keys that a newer version has added stay where they are, unread.

    Raises:
        RecordError: It cannot be read.
        StoreError: It is not there, or the store is away.
    """
    path = "/".join(parts)
    try:
        values = store.read_json(*parts)
    except (StoreError, RecursionError) as error:
        if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            if isinstance(error, RecursionError):
                raise RecordError(f"{path}: expected JSON; got lists in lists") from error
            if isinstance(error.__cause__, ValueError | IsADirectoryError):
                raise RecordError(f"{path}: {error}") from error
        raise
    try:
        return kind.model_validate(values, extra="ignore")
    except ValidationError:
        try:
            return parse_config(kind, values, source=path)  # which tells every faulty key
        except ConfigError as error:
            raise RecordError(str(error)) from error


def read_if_there(store: Store, kind: type[C], *parts: str) -> C | None:
    """Reads a record; None where there is none."""
    try:
        return read_record(store, kind, *parts)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise


def dump(value: Config) -> bytes:
    """Returns a record as it is written."""
    return value.model_dump_json(indent=2).encode() + b"\n"


def put_aside(store: Store, *parts: str) -> None:
    """Moves a record that cannot be read to `queue-damaged/`, where nothing looks for it."""
    inner = store.list(*parts)
    for name in inner:  # where there is a folder in its place
        put_aside(store, *parts, name)
    if not inner:
        name = f"{'_'.join(parts)}-{uuid.uuid4().hex[:8]}"
        store.write(store.read(*parts), ASIDE, name)
    store.remove(*parts)
