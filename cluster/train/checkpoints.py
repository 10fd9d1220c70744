"""The files of checkpoints on a worker's disk, from their writing to the end of their upload."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from flowkd.errors import StoreError
from flowkd.training.logs.metrics import RunLog
from flowkd.training.run import Run

STATE, SEAL = "state.pt", "state.sha256"
PREFIX = "flowkd-checkpoint"
MAX_PENDING = 2  # checkpoints of a worker that are not yet uploaded
POLL_SECONDS = 0.05


def new_folder() -> Path:
    """Returns a folder for a checkpoint, as soon as fewer than MAX_PENDING others are there.

    Ray Train queues uploads without end and removes each folder after its upload: a store that is
    slower than the training would fill the disk.
    """
    while len(_folders(f"{_ours()}-{os.getpid()}-")) >= MAX_PENDING:
        time.sleep(POLL_SECONDS)
    return Path(tempfile.mkdtemp(prefix=f"{_ours()}-{os.getpid()}-"))


def save_run(run: Run, log: RunLog, folder: Path) -> None:
    """Writes a run's checkpoint, with the lines of its log that may be lost with this process."""
    write_state({"run": run.state_dict(), "unwritten": log.unwritten()}, folder)


def restore_run(run: Run, state: dict[str, Any]) -> list[dict[str, Any]]:
    """Lets a run go on from a checkpoint's state; returns the lines that its log may lack."""
    run.load_state_dict(state["run"])
    unwritten: list[dict[str, Any]] = state["unwritten"]
    return unwritten


def write_state(state: dict[str, Any], folder: Path) -> None:
    """Writes a checkpoint's state, tensors, numbers and plain containers of them, and its hash."""
    torch.save(state, folder / STATE)
    (folder / SEAL).write_text(_sha256(folder / STATE), encoding="ascii")


def read_state(folder: Path, device: torch.device | str) -> dict[str, Any]:
    """Reads a checkpoint's state, its tensors onto a device, and executes nothing.

    Raises:
        StoreError: It is not what was written, or holds what no checkpoint does.
    """
    try:
        expected = (folder / SEAL).read_bytes()
        found = _sha256(folder / STATE).encode()
    except FileNotFoundError as error:
        raise StoreError(f"{Path(str(error.filename)).name} is missing") from error
    if found != expected:
        raise StoreError(
            f"expected {STATE} of SHA-256 {expected[:12]!r}, as it was written; got {found[:12]!r}"
        )
    try:
        state: dict[str, Any] = torch.load(folder / STATE, weights_only=True, map_location=device)
    except Exception as error:  # what is no checkpoint makes torch raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(f"{STATE} is no checkpoint: {reason}") from error
    return state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep() -> None:
    """Removes the checkpoint folders of this machine whose workers have ended."""
    for folder in _folders(f"{_ours()}-"):
        pid = folder.name.split("-")[-2]
        if pid.isdecimal() and not _is_there(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _ours() -> str:
    # A container has process numbers of its own, and may share its temporary folder.
    return f"{PREFIX}-{socket.gethostname()}"


def _folders(prefix: str) -> list[Path]:
    return [path for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith(prefix)]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
