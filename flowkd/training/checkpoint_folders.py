"""Where the checkpoints of a run lie: `runs/NAME/checkpoints/NUMBER/`, by number of its lease.

Each holder of the run has a folder of its own, so that one who was fenced out neither adds to what
counts nor removes from it. The last folder counts whose holder has begun.
"""

from __future__ import annotations

from flowkd.store.lease import Token
from flowkd.store.store import Store

SNAPSHOT = "checkpoint_manager_snapshot.json"  # Ray Train's list of the checkpoints in its folder
REMOVING = "removing.json"  # in the folder of a run that is being removed, until the end
BEGUN = "begun"  # where a holder has begun without any


def checkpoints_folder(token: Token) -> str:
    """Returns the folder of a holder's checkpoints."""
    return f"runs/{token.subject}/checkpoints/{token.name}"


def begin_without_checkpoints(token: Token) -> None:
    """Notes that a holder began at the first step: no earlier one's checkpoints count any more."""
    if token.number > 1:
        token.store.write(b"", checkpoints_folder(token), BEGUN)


def current_folder(store: Store, run: str) -> str | None:
    """Returns the folder whose checkpoints count; None where there is none yet."""
    folder = f"runs/{run}/checkpoints"
    for name in reversed(store.list(folder)):
        if not {SNAPSHOT, BEGUN}.isdisjoint(store.list(folder, name)):
            return f"{folder}/{name}"
    return None


def current_checkpoints(store: Store, run: str) -> list[str]:
    """Returns the names of the checkpoints that count, oldest first."""
    folder = current_folder(store, run)
    return checkpoint_names(store, folder) if folder else []


def checkpoint_names(store: Store, folder: str) -> list[str]:
    """Returns the names of the checkpoints in a folder, oldest first."""
    names = store.list(folder)
    return [n for n in names if n.startswith("checkpoint_") and not n.endswith(".json")]
