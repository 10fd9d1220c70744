"""Processes that descend from another one, or carry its mark: how they are found and ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

POLL_SECONDS = 0.05
KILL_SECONDS = 10.0  # what SIGKILL does not end by then hangs in the kernel
SHOWN_CHARACTERS = 80
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> bool:
    """Makes this process the parent of all that descends from it and loses its own parent.

    False where the system cannot: there, `descendants` finds them by their session and their mark.
    """
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def descendants(root: int) -> list[psutil.Process]:
    """Returns the processes that descend from another one, or are in the session that it leads."""
    try:
        below = psutil.Process(root).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    session = [each for each in psutil.process_iter() if _session(each.pid) == root]
    return [each for each in {*below, *session} if each.pid != root and lives(each)]


def marked(name: str, prefix: str) -> list[psutil.Process]:
    """Returns the other processes whose environment has a variable that begins like this.

    Args:
        name: Of the variable.
        prefix: What its value begins with.
    """
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with suppress(psutil.Error, OSError):  # of another user, or gone
            if process.environ().get(name, "").startswith(prefix) and lives(process):
                found.append(process)
    return found


def end_processes(
    find: Callable[[], list[psutil.Process]],
    seconds: float,
    hurry: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Ends processes, and those that they start meanwhile: SIGTERM, some time, then SIGKILL.

    Args:
        find: Returns those that live.
        seconds: Between SIGTERM and SIGKILL; 0 for SIGKILL at once.
        hurry: Tells whether SIGKILL is due now; default never before its time.

    Returns:
        What was ended, in words, such as `sleep 600 (process 12, SIGTERM)`.
    """
    began = time.monotonic()
    sent: dict[psutil.Process, tuple[str, str]] = {}
    while found := find():
        force = time.monotonic() - began >= seconds or hurry()
        number = signal.SIGKILL if force else signal.SIGTERM
        for process in found:
            with suppress(psutil.Error):
                if force or process not in sent:
                    words = sent[process][0] if process in sent else _in_words(process)
                    process.send_signal(number)
                    sent[process] = words, number.name
        if time.monotonic() - began > seconds + KILL_SECONDS:
            break
        time.sleep(POLL_SECONDS)
    return [f"{words} (process {each.pid}, {how})" for each, (words, how) in sent.items()]


def _in_words(process: psutil.Process) -> str:
    words = " ".join(process.cmdline()) or process.name()
    text = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def lives(process: psutil.Process) -> bool:
    """Tells whether a process runs, and is no other of the same number."""
    try:
        ended = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return process.is_running() and process.status() not in ended
    except psutil.Error:
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
