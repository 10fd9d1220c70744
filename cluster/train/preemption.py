"""Stops a training on SIGTERM: it leaves a checkpoint, from which the same run goes on.

SIGTERM reaches the driver, of Ray Jobs' `stop` as of a machine that is taken away. The driver says
so in the store, beside its lease, and the first worker, who looks there now and then, tells the
others. There it also sees whether another driver has taken the run over.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from flowkd.errors import FlowkdError, StoppedError
from flowkd.store.lease import Token

LOOK_SECONDS = 1.0
# What workers are asked; the greatest counts.
NOTHING, STOP, FENCED = 0, 1, 2


def _stop_name(token: Token) -> str:
    return f"{token.name}.stop.json"


@contextmanager
def stops_on_sigterm(token: Token) -> Iterator[None]:
    """Within it, SIGTERM asks the holder's workers to stop instead of ending this process.

    Other threads than the main one get no signals: there it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        print("stopping: a checkpoint first", flush=True)
        # Not in the handler itself, which may have interrupted a request to the store.
        threading.Thread(target=_ask_to_stop, args=(token,)).start()

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask_to_stop(token: Token) -> None:
    try:
        token.store.write(b"{}\n", token.folder, _stop_name(token))
    except (FlowkdError, OSError) as error:
        print(f"cannot ask {token} to stop, which goes on: {error}", flush=True)


def stopped_error(run: str, steps: int) -> StoppedError:
    """Returns the error of a run that was stopped, and left a checkpoint."""
    return StoppedError(
        f"run {run!r} was stopped after {steps} steps, of which it keeps a checkpoint: the same "
        f"command goes on from there"
    )


class StopWatch:
    """Looks in the background whether a run is asked to stop, or taken over.

    Args:
        token: What the run's driver holds.
        looks: Whether this worker is the one that asks the store.
    """

    def __init__(self, token: Token, looks: bool) -> None:
        self._token, self._asked = token, NOTHING
        self._done = threading.Event()
        if looks:
            threading.Thread(target=self._look, daemon=True).start()

    @property
    def asked(self) -> int:
        """What the run is asked, as far as this worker knows: NOTHING, STOP or FENCED."""
        return self._asked

    def close(self) -> None:
        """Ends the background thread."""
        self._done.set()

    def _look(self) -> None:
        token = self._token
        while not self._done.wait(LOOK_SECONDS):
            try:
                names = token.store.list(token.folder)
                if token.successor(names) is not None:
                    self._asked = FENCED
                    return
                if _stop_name(token) in names:
                    self._asked = STOP
            except (FlowkdError, OSError) as error:
                print(f"cannot look whether to stop, trying again: {error}", flush=True)
