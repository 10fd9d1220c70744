"""Work beside a training that may fail or hang, and never harms it."""

from __future__ import annotations

import threading
from collections.abc import Callable

PERIOD_SECONDS, LONGEST_SECONDS = 2.0, 60.0  # between two tries; the longer, the more have failed
END_SECONDS = 10.0  # that the end of the work before is waited for


class Background:
    """Calls a function from time to time in a thread, and once more at the end.

    Args:
        work: Called with whether it is the last time; it may raise anything.
        tell: Called once, with the first error.
    """

    def __init__(self, work: Callable[[bool], None], tell: Callable[[Exception], None]) -> None:
        self._work, self._tell = work, tell
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> bool:
        """Has it called for the last time; waits a little, and tells whether it has ended."""
        self._ending.set()
        self._thread.join(END_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause, told, ending = 0.0, False, False
        while not ending:
            ending = self._ending.wait(pause)
            try:
                self._work(ending)
                pause = PERIOD_SECONDS
            except Exception as error:  # of a server or its client, whatever they raise
                pause = min(LONGEST_SECONDS, 2 * max(pause, PERIOD_SECONDS))
                if not told:
                    self._tell(error)
                told = True
