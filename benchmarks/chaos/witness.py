"""What counts a job's attempts from outside of flowkd: a lock and a ledger, in the job's process.

Every Python process of the cluster runs `attend` when it starts, by a `sitecustomize` on its path.
In one that is a job's command it takes the lock of the job's name, for as long as it lives, and
writes to the ledger that it begins and ends; it notes `overlap` where another one holds the lock
and runs. One that stands still (SIGSTOP) does not run, until it goes on. Nothing of flowkd is
imported or changed.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable

FOLDER = "FLOWKD_CHAOS_LEDGER"
JOB = "FLOWKD_JOB"  # which the queue sets for a job's command
STORE = "FLOWKD_CHAOS_DISK"  # folder of the store on disk
FULL = "full"  # while there is a file of this name in the ledger's folder, that disk is full
DYING_SECONDS = 0.1  # in which a process that stood still and is killed has ended
COMMANDS = ("jobs.", "benchmarks.chaos.quick")


def attend() -> None:
    """Takes the lock and writes the ledger, if this process is the command of a job."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    if os.environ.get(STORE):
        _fill(os.path.join(folder, FULL), os.environ[STORE])
    job, words = os.environ.get(JOB), sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    if job is not None and module.startswith(COMMANDS):
        hold(folder, job)


def hold(folder: str, job: str) -> None:
    """Takes the lock of a job's name, and writes that its command begins, and when it ends."""
    ledger = os.open(os.path.join(folder, "ledger.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def say(what: str) -> None:
        os.write(ledger, f"{what} {job} {os.getpid()} {time.time():.3f}\n".encode())

    lock, ours = os.open(os.path.join(folder, f"{job}.lock"), os.O_RDWR | os.O_CREAT), os.getpid()
    say("begin")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(ours).encode(), 0)
    except OSError:
        other = os.pread(lock, 20, 0).decode()
        watch = threading.Thread(target=_say_when_it_runs, args=(other, say), daemon=True)
        watch.start()
    atexit.register(lambda: say("end") if os.getpid() == ours else None)


def _say_when_it_runs(other: str, say: Callable[[str], None]) -> None:
    """Says `overlap` as soon as the process that holds the lock does not stand still."""
    while _state(other) in ("T", "t"):
        time.sleep(0.01)
    time.sleep(DYING_SECONDS)
    if _state(other) not in ("gone", "Z", "X"):
        say("overlap")


def _state(pid: str) -> str:
    """Returns the state of a process, a letter as ps gives it, or `gone`."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def _fill(flag: str, store: str) -> None:
    """Lets this process write no new file below the store while the flag is there."""

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str):
            return
        flags = arguments[2]
        writes = isinstance(flags, int) and flags & os.O_CREAT
        if writes and arguments[0].startswith(store) and os.path.exists(flag):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])

    sys.addaudithook(audit)
