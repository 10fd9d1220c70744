"""A publication as it is done once: of several processes at one, one makes the version.

`publications/MODEL/ID/lease/` says who publishes it, and which version came of it. ID is the hash
of what is asked: of which weights, by which evaluation and search. A version is prepared without a
manifest of its name; the record by which it is finished decides that it counts. So a process that
stood still makes no second version when it wakes, and who publishes the same content again gets
the version that there is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from flowkd.errors import FencedError, StoreError
from flowkd.registry.aliases import alias_version, last_number, removals, set_alias
from flowkd.store.holder import Holder
from flowkd.store.lease import LeaseRecord, Token, take
from flowkd.store.lease_keeper import LeaseKeeper
from flowkd.store.store import Store

DRAFT, MANIFEST = "draft.json", "manifest.json"
RATES = ("log_prob_per_second", "samples_per_second")  # never the same twice


def publish_once(
    store: Store,
    model: str,
    alias: str,
    write: Callable[[str], str],
    asked: Mapping[str, Any],
    content: Mapping[str, Any],
    check: Callable[[], None],
) -> str:
    """Makes a version of a model and points an alias at it, unless that was done before.

    Args:
        store: Where to write.
        model: Name of the model.
        alias: Alias that is moved to the version.
        write: Writes a version, its manifest under the name that it is given; returns its name.
        asked: What is published, on whose grounds: one process at a time does.
        content: What the version holds; another one is made where this differs.
        check: Called once this process holds the publication.

    Raises:
        HeldError: Another process does it.
        FencedError: Another process has taken it over.
    """
    place, digest = f"publications/{model}/{_digest(asked)[:16]}", _digest(content)

    def is_done(last: LeaseRecord) -> bool:
        return last.facts.get("content") == digest and _is_there(store, model, last.result)

    found = take(store, place, is_done)
    if isinstance(found, LeaseRecord):
        _show(store, model, found.result)
        # Another attempt at the same job ends what the first began; who asks anew, wants it moved.
        again = found.holder.job != "" and found.holder.job == Holder.this().job
        since = found.facts["moves"] if again and found.facts["alias"] == alias else None
        if since is not None or alias_version(store, model, alias) != found.result:
            set_alias(store, model, alias, found.result, since=since)
        return found.result
    with LeaseKeeper(found):
        check()
        moves = last_number(store, model, alias)
        version = _finish(found, model, write, content=digest, alias=alias, moves=moves)
        _show(store, model, version)
        # Somebody else may have ended this while it stood still, and others moved the alias since.
        set_alias(store, model, alias, version, since=moves)
    return version


def _finish(token: Token, model: str, write: Callable[[str], str], **facts: Any) -> str:
    version = write(DRAFT)
    try:
        return token.finish(version, **facts)
    except FencedError:
        with suppress(StoreError, OSError):  # nobody sees it, it only takes room
            token.store.remove("models", model, version)
        raise


def _show(store: Store, model: str, version: str) -> None:
    """Makes a version that counts one that readers find; whoever does, writes the same."""
    folder = f"models/{model}/{version}"
    if store.exists(folder, MANIFEST):
        return
    store.write(store.read(folder, DRAFT), folder, MANIFEST)
    if store.exists(removals(model, version), "removed.json"):  # while this process stood still
        store.remove(folder)


def _is_there(store: Store, model: str, version: str) -> bool:
    """Tells whether a version counts: it may not be shown yet, and somebody may have removed it."""
    folder = f"models/{model}/{version}"
    if store.exists(folder, MANIFEST):
        return True
    removed = store.exists(removals(model, version), "removed.json")
    return not removed and store.exists(folder, DRAFT)


def without_rates(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns figures without those that are measured anew each time.

    >>> without_rates({"steps": 3, "test": {"bits_per_dim": 2.0, "samples_per_second": 9.0}})
    {'steps': 3, 'test': {'bits_per_dim': 2.0}}
    """
    test = metrics.get("test")
    if not isinstance(test, Mapping):
        return dict(metrics)
    return {**metrics, "test": {key: value for key, value in test.items() if key not in RATES}}


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
