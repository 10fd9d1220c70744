"""Aliases: names such as `best` that point at a version of a model, moved by compare-and-swap.

`models/NAME/aliases/ALIAS/00000007.json` is where an alias pointed after its seventh move; the
highest number counts. Whoever moves it creates the next number, which only one can. Older files
stay: were a number free again, a slow writer could take it, and believe to have moved an alias
that has long pointed elsewhere.

A move and the removal of its version exclude each other without a lock that both would have to
take. Who removes a version first says so, then looks for aliases; who moves one first moves it,
then looks for removals. Whatever the order, at least one of the two sees the other, and gives way.
Should the one who moves die in between, its move is void once the version is removed: the alias
points where it did before, and never at nothing.
"""

from __future__ import annotations

import random
import time
import warnings
from bisect import bisect_right
from dataclasses import dataclass

from flowkd.errors import StoreError
from flowkd.names import is_name
from flowkd.registry.alias_moves import (
    AliasMove,
    alias_folder,
    create_move,
    move_numbers,
    read_move,
)
from flowkd.store.locks import LOCK_SECONDS, acquire_lock, creates_are_atomic, current_locks
from flowkd.store.retry import is_transient
from flowkd.store.store import Store

MAX_PAUSE = 0.1  # seconds after a lost race

_warned: set[str] = set()  # URIs of stores whose weak semantics were told


def alias_names(store: Store, model: str) -> list[str]:
    """Returns the names of a model's aliases."""
    return store.list("models", model, "aliases")


def alias_version(store: Store, model: str, alias: str) -> str | None:
    """Returns the version that an alias points at; None where there is no such alias.

    Raises:
        StoreError: Its last move is damaged.
    """
    move = _last_move(store, model, alias, move_numbers(store, model, alias))
    return move.version if move else None


def removals(model: str, version: str) -> str:
    """Returns the folder that tells of removals of a version: `locks/`, and `removed.json`."""
    return f"models/{model}/removals/{version}"


def alias_versions(store: Store, model: str) -> dict[str, str]:
    """Returns the version that each alias of a model points at."""
    found = {alias: alias_version(store, model, alias) for alias in alias_names(store, model)}
    return {alias: version for alias, version in found.items() if version is not None}


def alias_history(store: Store, model: str, alias: str) -> tuple[list[AliasMove], list[str]]:
    """Returns all moves of an alias, the current one last, and what is wrong with damaged ones."""
    moves, damage = [], []
    for number in move_numbers(store, model, alias):
        try:
            moves.append(read_move(store, model, alias, number))
        except StoreError as error:
            if is_transient(error):
                raise
            damage.append(str(error))
    return moves, damage


def last_number(store: Store, model: str, alias: str) -> int:
    """Returns how often an alias was moved."""
    return max(move_numbers(store, model, alias), default=0)


def set_alias(
    store: Store,
    model: str,
    alias: str,
    version: str,
    expected: str | None = None,
    since: int | None = None,
) -> int:
    """Points an alias of a model at one of its versions, and returns the number of this move.

    Args:
        store: Where the model lies. If it cannot create objects atomically, one writer at a time
            moves an alias, and a warning says so.
        model: Name of the model.
        alias: Name to move, or to make.
        version: Name of the version it will point at.
        expected: Version that it must point at now, else it is not moved; default any.
        since: A number: where a later move led to this version, it is not moved again, wherever it
            points by now. Default None: it is.

    Raises:
        StoreError: No such version, or it is being removed; the alias does not point at the
            expected one; or others kept moving it for all of the store's `retry_seconds`.

    Examples:
        >>> store = Store("memory://aliases")
        >>> store.write_json({}, "models", "photos", "v1", "manifest.json")
        >>> set_alias(store, "photos", "best", "v1")
        1
        >>> alias_version(store, "photos", "best")
        'v1'
        >>> set_alias(store, "photos", "best", "v1", expected="v0")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        flowkd.errors.StoreError: expected alias 'best' of model 'photos' to point at v0; got v1 ...
        >>> store.remove()
    """
    if not is_name(alias):
        raise StoreError(f"expected an alias of letters, digits, '.', '_' and '-'; got {alias!r}")
    if not store.exists("models", model, version, "manifest.json"):
        raise StoreError(
            f"no version models/{model}/{version} in {store.uri}: `flowkd models list` tells which "
            "there are"
        )
    held = current_locks(store, f"{removals(model, version)}/locks")
    if held:
        raise _being_removed(store, model, version, held)
    move = _move_by_create if creates_are_atomic(store) else _move_locked
    try:
        number = move(store, model, alias, version, _Condition(version, expected, since))
    except _MovedError as before:
        return before.number
    _stay_clear_of_removals(store, model, alias, version)
    return number


def _stay_clear_of_removals(store: Store, model: str, alias: str, version: str) -> None:
    """Returns once no removal of a version can miss that an alias points at it now.

    Raises:
        StoreError: It was removed at the same time, or may be yet.
    """
    deadline = time.monotonic() + store.retry_seconds
    while held := current_locks(store, f"{removals(model, version)}/locks"):
        if time.monotonic() > deadline:
            raise _being_removed(store, model, version, held)
        time.sleep(MAX_PAUSE)
    if not store.exists("models", model, version, "manifest.json"):
        raise StoreError(
            f"models/{model}@{version} was removed while alias {alias!r} was moved to it: the "
            f"alias stays where it was; see `flowkd models list`"
        )


def _being_removed(store: Store, model: str, version: str, held: list[str]) -> StoreError:
    return StoreError(
        f"models/{model}@{version} of {store.uri} is being removed: move the alias to another "
        f"version, or try again; if that removal has died, remove {removals(model, version)}/locks/"
        f"{held[0]}, or wait until it expires after {LOCK_SECONDS / 60:g} minutes"
    )


@dataclass(frozen=True)
class _Condition:
    """When an alias may be moved to a version, as `set_alias` has it."""

    version: str
    expected: str | None
    since: int | None


class _MovedError(Exception):
    """An alias was moved to the version before, by the move of a number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _move_by_create(
    store: Store, model: str, alias: str, version: str, condition: _Condition
) -> int:
    deadline = time.monotonic() + store.retry_seconds
    while True:
        number = _next_number(store, model, alias, condition)
        if create_move(store, model, alias, version, number):
            return number
        if time.monotonic() > deadline:
            raise StoreError(
                f"could not move alias {alias!r} of model {model!r} within "
                f"{store.retry_seconds:g} s: others moved it each time, last as number {number}; "
                f"try again"
            )
        time.sleep(random.uniform(0, MAX_PAUSE))


def _move_locked(store: Store, model: str, alias: str, version: str, condition: _Condition) -> int:
    if store.uri not in _warned:
        _warned.add(store.uri)
        warnings.warn(
            f"of several conditional writes to {store} at once, more than one succeeds, so "
            "aliases are moved there by one writer at a time; after a crash, others wait up to "
            f"{LOCK_SECONDS / 60:g} minutes for their turn",
            stacklevel=3,
        )
    _next_number(store, model, alias, condition)  # fail before waiting for the lock
    lock = acquire_lock(store, f"{alias_folder(model, alias)}/locks")
    try:
        number = _next_number(store, model, alias, condition)
    except (StoreError, _MovedError):
        store.remove(lock)
        raise
    # Should this fail, the lock stays until it expires: the write may arrive yet.
    created = create_move(store, model, alias, version, number)
    store.remove(lock)
    if not created:
        raise StoreError(
            f"alias {alias!r} of model {model!r} got its number {number} from a writer without a "
            f"lock; is one at work that takes conditional writes to {store.uri} for atomic?"
        )
    return number


def _next_number(store: Store, model: str, alias: str, condition: _Condition) -> int:
    """Returns the number after the highest; raises StoreError if that points elsewhere."""
    numbers, expected = move_numbers(store, model, alias), condition.expected
    if condition.since is not None:
        for number in numbers[bisect_right(numbers, condition.since) :]:
            if read_move(store, model, alias, number).version == condition.version:
                raise _MovedError(number)
    if expected is not None:
        found = _last_move(store, model, alias, numbers)
        if found is None or found.version != expected:
            there = f"{found.version} since {found.time}" if found else "no such alias"
            raise StoreError(
                f"expected alias {alias!r} of model {model!r} to point at {expected}; got {there}: "
                f"it was not moved; see `flowkd models alias {model} {alias}`, and expect that "
                "version if it is still to be moved"
            )
    return numbers[-1] + 1 if numbers else 1


def _last_move(store: Store, model: str, alias: str, numbers: list[int]) -> AliasMove | None:
    """Returns the last move that counts: those to a version that was removed do not."""
    for number in reversed(numbers):
        move = read_move(store, model, alias, number)
        if store.exists("models", model, move.version, "manifest.json"):
            return move
        if not store.exists(removals(model, move.version), "removed.json"):
            return move  # its manifest is lost, which nobody wanted
    return None
