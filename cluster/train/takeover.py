"""Takes over the checkpoints of a run's last holder, so that Ray Train goes on from them."""

from __future__ import annotations

import json

from flowkd.errors import StoreError
from flowkd.store.lease import Token
from flowkd.training.checkpoint_folders import (
    SNAPSHOT,
    begin_without_checkpoints,
    checkpoint_names,
    checkpoints_folder,
    current_folder,
)

TRIES = 3  # while the last holder is still removing checkpoints of its own


def take_over_checkpoints(token: Token) -> None:
    """Copies the checkpoints that count into the holder's folder, and removes the older folders.

    What Ray Train's snapshot names is copied first, and the snapshot last: without one a folder
    does not count, for who comes after this holder, too.

    Raises:
        StoreError: The last holder removed them meanwhile, again and again.
    """
    store = token.store
    theirs = current_folder(store, token.subject) if token.number > 1 else None
    if theirs is not None:
        _copy(token, theirs)
    else:
        begin_without_checkpoints(token)
    if token.number > 1:
        parent = f"runs/{token.subject}/checkpoints"
        for name in store.list(parent):
            if name < token.name:
                store.remove(parent, name)


def _copy(token: Token, theirs: str) -> None:
    store, mine = token.store, checkpoints_folder(token)
    for left in reversed(range(TRIES)):
        try:
            snapshot = store.read(theirs, SNAPSHOT) if store.exists(theirs, SNAPSHOT) else b""
            names, known = _named(snapshot), checkpoint_names(store, theirs)
            if names is not None and not set(names) <= set(known) and not left:
                names = None  # it names what is not there, and nobody is removing anything
            if names is None and snapshot:
                print(
                    f"{token}: {theirs}/{SNAPSHOT} is damaged: its checkpoints are "
                    f"tried, the last first",
                    flush=True,
                )
            for name in known if names is None else names:
                store.copy(f"{theirs}/{name}", f"{mine}/{name}")
        except StoreError:
            if not left:
                raise
            continue
        if names is None:
            begin_without_checkpoints(token)
        else:
            store.write(snapshot, mine, SNAPSHOT)
        return


def _named(snapshot: bytes) -> list[str] | None:
    """Returns the checkpoints that Ray Train's list names; None where it is missing or damaged.

    Then all that lie beside it are tried, the last that is whole first.
    """
    try:
        return [each["checkpoint_dir_name"] for each in json.loads(snapshot)["checkpoint_results"]]
    except (ValueError, LookupError, TypeError):
        return None
