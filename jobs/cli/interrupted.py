"""What is said where Ctrl-C ends a training: what is kept, and how to go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flowkd.errors import FlowkdError
from flowkd.store.store import Store
from flowkd.text import visible
from flowkd.training.checkpoint_folders import current_checkpoints


@contextmanager
def tells_what_is_kept(store: Store, run: str) -> Iterator[None]:
    """Prints to stderr, where Ctrl-C ends a training, what is kept of it and how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print(visible(kept_of(store, run)), file=sys.stderr)
        raise


@contextmanager
def says_if_interrupted(sentence: str) -> Iterator[None]:
    """Prints a sentence to stderr where Ctrl-C ends what is done meanwhile."""
    try:
        yield
    except KeyboardInterrupt:
        print(visible(sentence), file=sys.stderr)
        raise


def kept_of(store: Store, run: str) -> str:
    """Returns in words what a run has kept, and how it goes on."""
    try:
        kept = current_checkpoints(store, run)
    except FlowkdError as error:
        return f"what is kept of runs/{run} cannot be read: {error}"
    if not kept:
        return f"runs/{run} has no checkpoint yet: the same command begins it again"
    return f"runs/{run} keeps its last checkpoint, {kept[-1]}: the same command goes on from there"
