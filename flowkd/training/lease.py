"""The lease of a run: flowkd.store.lease, and what its holder finishes.

Metrics, checkpoints and results lie below a holder's number, and readers take what the line of
holders wrote.
"""

from __future__ import annotations

from collections.abc import Callable

from flowkd.store import lease
from flowkd.store.lease import LeaseRecord, Token
from flowkd.store.store import Store

STEPS = "steps"  # of a result


def place_of(run: str) -> str:
    """Returns the place that who trains a run holds."""
    return f"runs/{run}"


def take(store: Store, run: str, steps: int, say: Callable[[str], None] = print) -> Token | None:
    """Takes the next number of a run's lease, which fences out whoever had the last one.

    Args:
        store: Where the run is, or will be.
        run: Its name.
        steps: How many steps it is to have.
        say: Told when it has to wait; default print.

    Returns:
        The token; None where the run is finished.

    Raises:
        HeldError: Another process holds the run, and is alive.
    """

    def is_done(last: LeaseRecord) -> bool:
        if last.facts.get(STEPS, 0) < steps:
            return False
        # Somebody may have removed it since.
        return store.exists("runs", run, "result", last.result, "manifest.json")

    found = lease.take(store, place_of(run), is_done, say)
    if isinstance(found, Token):
        return found
    _show(store, run, found.result)
    return None


def finish(token: Token, result: str, steps: int) -> None:
    """Makes what lies in a folder of `runs/NAME/result/` the run's result.

    Args:
        token: Of the run's lease.
        result: Name of the folder, an artifact with its manifest.
        steps: How many steps it has.

    Raises:
        FencedError: Another has taken over.
    """
    _show(token.store, token.subject, token.finish(result, **{STEPS: steps}))


def _show(store: Store, run: str, result: str) -> None:
    """Makes a finished result the one that readers find; whoever does, writes the same."""
    folder = f"runs/{run}/result"
    store.write(store.read(folder, result, "manifest.json"), folder, "manifest.json")
