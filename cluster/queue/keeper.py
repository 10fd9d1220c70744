"""Runs an attempt's command, and ends all that it leaves running, however it or the runner ends.

It stands between the runner and the command, and is the parent of what loses its own: neither a
process group nor a session of its own, nor a double fork leads out of its reach.

python -m cluster.queue.keeper GRACE COMMAND...
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress

import psutil

from cluster.descendants import adopt_orphans, descendants, end_processes, marked

MARK = "FLOWKD_MARK"  # a variable of the command's environment, and so of all that it starts
LEAST_GRACE = 0.5  # seconds for what a command leaves behind that took all of its own
NO_PROGRAM = 127  # exit code, as shells give
LISTED = 10


class Keeper:
    """Keeps a command and what descends from it.

    Its standard input ends when the runner does: then all is killed at once, for another attempt
    may follow at once. SIGTERM asks the command to end.

    Args:
        command: Program and arguments.
        grace: Seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, command: list[str], grace: float) -> None:
        self._command, self._grace = command, grace
        self._stopped = False
        self._code: int | None = None

    def run(self) -> int:
        """Runs the command and returns its exit code, as shells count, once all is over."""
        adopt_orphans()
        wakes, wake = os.pipe()
        for end in (wakes, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        ignored = (signal.SIGINT, signal.SIGHUP)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        if _runner_is_gone():
            return -signal.SIGKILL
        try:
            child = os.posix_spawnp(
                self._command[0], self._command, os.environ, setpgroup=0, setsigdef=ignored,
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            )  # fmt: skip
        except OSError as error:
            print(f"cannot run {self._command[0]}: {error}", flush=True)
            return NO_PROGRAM
        left = self._wait(child, wakes)
        ended = end_processes(self._left_behind, left, _runner_is_gone)
        self._reap(child)
        if ended:
            more = f", and {len(ended) - LISTED} more" if len(ended) > LISTED else ""
            print(
                f"flowkd: ended what the command left running: {', '.join(ended[:LISTED])}{more}",
                flush=True,
            )
        code = self._code if self._code is not None else -signal.SIGKILL
        return 128 - code if code < 0 else code

    def _stop(self, *_: object) -> None:
        self._stopped = True

    def _wait(self, child: int, wakes: int) -> float:
        """Waits for the command to end; returns the seconds that what it leaves behind may take."""
        deadline: float | None = None
        while not self._reap(child):
            now = time.monotonic()
            if self._stopped and deadline is None:
                deadline = now + self._grace
                with suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGTERM)
            if deadline is not None and now >= deadline:
                os.killpg(child, signal.SIGKILL)
                deadline = now + LEAST_GRACE
            ready, _, _ = select.select([0, wakes], [], [], deadline and deadline - now)
            if wakes in ready:
                with suppress(BlockingIOError):
                    os.read(wakes, 4096)
            if 0 in ready:
                return 0
        if deadline is None:
            return self._grace
        return max(deadline - time.monotonic(), LEAST_GRACE)

    def _reap(self, child: int) -> bool:
        """Takes in the processes that have ended; tells whether the command is among them."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == child:
                    self._code = os.waitstatus_to_exitcode(status)
        return self._code is not None

    def _left_behind(self) -> list[psutil.Process]:
        found = {*descendants(os.getpid()), *marked(MARK, os.environ[MARK])}
        return sorted(found, key=lambda process: process.pid)


def _runner_is_gone() -> bool:
    return bool(select.select([0], [], [], 0)[0])


if __name__ == "__main__":
    sys.exit(Keeper(sys.argv[2:], float(sys.argv[1])).run())
