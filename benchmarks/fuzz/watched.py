"""A process that judges inputs, watched from another: it may end, hang, or take all memory."""

from __future__ import annotations

import multiprocessing
import re
import resource
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.fuzz.targets import Target, targets

SECONDS = 20  # for one input
MEBIBYTES = 1024  # more than before it


def judge(target: Target, suffix: str, data: bytes) -> str | None:
    """Returns what is wrong with how an input was taken, whatever it raises."""
    try:
        return target.check(suffix, data)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({where.name}, line {where.lineno})"


def _target(name: str) -> Target:
    return targets()[name]


def _judges(make: Callable[[], Target], asked: Connection) -> None:
    target = make()
    asked.send(None)
    while True:
        suffix, data = asked.recv()
        before = _peak()
        fault = judge(target, suffix, data)
        grown = (_peak() - before) / 1024
        if fault is None and grown > MEBIBYTES:
            fault = f"took {grown:,.0f} MiB of memory for {len(data):,} bytes"
        asked.send(fault)


def _peak() -> int:
    """Returns the most memory that this process has had, in KiB."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # What getrusage says on Linux begins at what the parent had when it started this process.
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


class Watched:
    """A process that judges the inputs of one target, started again after one that ends it.

    Args:
        name: Name of the target.
        make: Returns the target, in the process; default the one of that name.
    """

    def __init__(self, name: str, make: Callable[[], Target] | None = None) -> None:
        self._make = make or partial(_target, name)
        self._process: Any = None

    def judge(self, suffix: str, data: bytes) -> str | None:
        """Returns what is wrong with how an input was taken."""
        if self._process is None:
            self._start()
        self._pipe.send((suffix, data))
        return self._answer(SECONDS)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_judges, args=(self._make, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._answer(120)

    def _answer(self, seconds: float) -> str | None:
        try:
            if self._pipe.poll(seconds):
                found: str | None = self._pipe.recv()
                return found
            fault = f"no answer within {seconds:g} s"
        except EOFError:
            self._process.join(5)
            fault = f"ended the process, exit code {self._process.exitcode}"
        self.close()
        return fault
