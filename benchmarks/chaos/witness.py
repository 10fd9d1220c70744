"""What counts a job's attempts from outside of flowkd: a lock and a ledger, in the job's process.

Every Python process of the cluster runs `attend` when it starts, by a `sitecustomize` on its path.
In one that is a job's command it takes the lock of the job's name, for as long as it lives, and
writes to the ledger that it begins and ends; it notes `overlap` where another one holds the lock.
Nothing of flowkd is imported or changed.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import sys
import time

FOLDER = "FLOWKD_CHAOS_LEDGER"
JOB = "FLOWKD_JOB"  # which the queue sets for a job's command
STORE = "FLOWKD_CHAOS_DISK"  # folder of the store on disk
FULL = "full"  # while there is a file of this name in the ledger's folder, that disk is full
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

    lock = os.open(os.path.join(folder, f"{job}.lock"), os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("overlap")
    say("begin")
    ours = os.getpid()
    atexit.register(lambda: say("end") if os.getpid() == ours else None)


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
