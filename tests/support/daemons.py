"""Processes that try to outlive the one that started them, each in another way."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import psutil

DAEMON, DEAF = "a double fork and its own session", "a double fork, deaf to SIGTERM"
# Each tells its process id, then waits; a fork's parent goes on at once.
WAYS = {
    "a child": "if os.fork(): os._exit(0)",
    "its own process group": "if os.fork(): os._exit(0)\nos.setpgid(0, 0)",
    DAEMON: ("if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)"),
    DEAF: (
        "if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    ),
}
TELL = """
import os, signal, sys, time
way, file = sys.argv[1:]
exec(way)
with open(file + ".new", "w") as told:
    told.write(str(os.getpid()))
os.rename(file + ".new", file)
time.sleep(600)
"""


def daemon(way: str, file: Path, clean: bool = False) -> str:
    """Returns a shell command that starts one of them and has ended once it runs.

    Args:
        way: One of WAYS.
        file: Where it tells its process id.
        clean: Whether it gets no environment; default that of the shell.
    """
    words = shlex.join([sys.executable, "-c", TELL, WAYS[way], str(file)])
    return f"{'env -i ' if clean else ''}{words}; while [ ! -e {file} ]; do sleep 0.05; done"


def lives(file: Path) -> bool:
    """Tells whether the process lives that told its id there, at the latest a moment from now."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if psutil.Process(int(file.read_text())).status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.05)
    return True
