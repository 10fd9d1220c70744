"""What fsspec's filesystems do not do by themselves, on their own paths, in a single attempt."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from flowkd.store.retry import is_transient, may_exist_already

_MEMORY_LOCK = threading.Lock()  # makes `create_object` atomic on memory://


def create_object(fs: AbstractFileSystem, path: str, data: bytes) -> bool:
    """Writes an object where there is none; False where there is one."""
    if isinstance(fs, MemoryFileSystem):
        with _MEMORY_LOCK:
            free = not fs.exists(path)
            if free:
                fs.pipe_file(path, data)
            return free
    try:
        fs.pipe_file(path, data, mode="create")
    except Exception as error:
        if is_transient(error) or not may_exist_already(error) or not fs.exists(path):
            raise
        return False
    return True


def copy_all(fs: AbstractFileSystem, source: str, target: str) -> None:
    """Copies all that is below a folder, in the order of paths; FileNotFoundError for nothing."""
    found = sorted(fs.find(source))
    if not found:
        raise FileNotFoundError(source)
    for path in found:
        goal = f"{target}{path[len(source) :]}"
        if isinstance(fs, LocalFileSystem):
            Path(goal).parent.mkdir(parents=True, exist_ok=True)
        fs.cp_file(path, goal)


def remove_exactly(fs: AbstractFileSystem, path: str) -> None:
    """Removes an object or a folder, whose path is not taken for a pattern, if it is there."""
    if isinstance(fs, LocalFileSystem):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.remove(path)
        return
    for found in fs.find(path):  # neither of these two expands anything
        fs.rm_file(found)
