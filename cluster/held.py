"""A lease while work runs that does not look at it: the process ends if another takes it over."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.exits import FENCED
from flowkd.errors import FencedError
from flowkd.store.lease import Token
from flowkd.store.lease_keeper import LeaseKeeper

FENCED_SECONDS = 10.0  # in which those who are at work notice it by themselves


@contextmanager
def held(token: Token) -> Iterator[None]:
    """Holds it; where another takes over, this process ends soon, whatever Ray waits for."""
    left = threading.Event()

    def end(error: FencedError) -> None:
        if not left.wait(FENCED_SECONDS):
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(FENCED)

    with LeaseKeeper(token, on_fenced=end):
        try:
            yield
        finally:
            left.set()
