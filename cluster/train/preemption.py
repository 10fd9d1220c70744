"""Stops a training on SIGTERM: it leaves a checkpoint, from which the same run goes on.

SIGTERM reaches the driver, of Ray Jobs' `stop` as of a machine that is taken away. The driver says
so in the store, and the first worker, who looks there now and then, tells the others.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from flowkd.errors import FlowkdError, StoppedError
from flowkd.store.store import Store

STOP = "stop.json"
LOOK_SECONDS = 1.0


@contextmanager
def stops_on_sigterm(store: Store, run: str) -> Iterator[None]:
    """Within it, SIGTERM asks a run to stop instead of ending this process.

    Other threads than the main one get no signals: there it does nothing. What an earlier attempt
    was asked is forgotten.
    """
    forget_stop(store, run)
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        print("stopping: a checkpoint first", flush=True)
        # Not in the handler itself, which may have interrupted a request to the store.
        threading.Thread(target=store.write_json, args=({}, "runs", run, STOP)).start()

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def forget_stop(store: Store, run: str) -> None:
    """Forgets that a run was asked to stop."""
    store.remove("runs", run, STOP)


def stopped_error(run: str, steps: int) -> StoppedError:
    """Returns the error of a run that was stopped, and left a checkpoint."""
    return StoppedError(
        f"run {run!r} was stopped after {steps} steps, of which it keeps a checkpoint: the same "
        f"command goes on from there"
    )


class StopWatch:
    """Looks in the background whether a run is asked to stop.

    Args:
        store: Store of the run.
        run: Name of the run.
        looks: Whether this worker is the one that asks the store.
    """

    def __init__(self, store: Store, run: str, looks: bool) -> None:
        self._store, self._run = store, run
        self._asked, self._done = threading.Event(), threading.Event()
        if looks:
            threading.Thread(target=self._look, daemon=True).start()

    @property
    def asked(self) -> bool:
        """Whether the run is asked to stop, as far as this worker knows."""
        return self._asked.is_set()

    def close(self) -> None:
        """Ends the background thread."""
        self._done.set()

    def _look(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            try:
                if self._store.exists("runs", self._run, STOP):
                    self._asked.set()
                    return
            except (FlowkdError, OSError) as error:
                print(f"cannot look whether to stop, trying again: {error}", flush=True)
