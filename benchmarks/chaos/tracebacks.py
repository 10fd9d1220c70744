"""Finds Python tracebacks of flowkd's own in logs and in what commands print."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(rf"{re.escape(str(ROOT))}/(flowkd|cluster|jobs|tuning)/")
FIRST = "Traceback (most recent call last)"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
LONGEST = 200  # lines


def own_tracebacks(text: str) -> list[str]:
    """Returns the tracebacks that pass through flowkd's code, each with the line of its error."""
    lines = _unfolded(ANSI.sub("", text)).splitlines()
    found = []
    for number, line in enumerate(lines):
        if FIRST not in line:
            continue
        before = line[: line.index(FIRST)]  # what a log puts before each line
        block = [line]
        for each in lines[number + 1 : number + LONGEST]:
            block.append(each)
            rest = each[len(before) :] if each.startswith(before) else each
            if FIRST in each or (rest and not rest[0].isspace()):
                break
        if OURS.search("\n".join(block)):
            found.append("\n".join(block))
    return found


def last_line(traceback: str) -> str:
    """Returns a traceback's file and its error, with the last place in flowkd's code."""
    places = re.findall(rf'File "{re.escape(str(ROOT))}/([^"]+)", line (\d+)', traceback)
    ours = [f"{path}:{line}" for path, line in places if OURS.search(f"{ROOT}/{path}")]
    name, _, rest = traceback.partition(": ")
    error = rest.splitlines()[-1].strip()
    return f"{name}: {error} ({ours[-1] if ours else 'unknown'})"


def _unfolded(text: str) -> str:
    """Returns a log with the lines of those entries that are JSON, as Ray Train's are."""
    return "\n".join(
        re.sub(r"\\n", "\n", line.replace('\\"', '"')) if line.startswith("{") else line
        for line in text.splitlines()
    )


class LogWatch:
    """Looks for tracebacks in what was added to files since it last looked.

    Args:
        folders: Where the files are, at any depth.
        suffixes: Of their names.
    """

    def __init__(
        self, folders: Iterable[Path], suffixes: tuple[str, ...] = (".log", ".out", ".err")
    ) -> None:
        self.folders, self._suffixes = list(folders), suffixes
        self._read: dict[int, int] = {}  # by inode: Ray moves the logs of workers that have ended

    def look(self) -> list[str]:
        """Returns the new tracebacks, each with the name of its file before it."""
        found = []
        for path in self._files():
            try:
                with path.open("rb") as file:
                    inode = os.fstat(file.fileno()).st_ino
                    file.seek(self._read.get(inode, 0))
                    data = file.read()
            except OSError:
                continue
            # A traceback that is not written to its end is read the next time.
            whole = data[: data.rfind(b"\n") + 1]
            self._read[inode] = self._read.get(inode, 0) + len(whole)
            text = whole.decode(errors="replace")
            found += [f"{path.name}: {each}" for each in own_tracebacks(text)]
        return found

    def _files(self) -> list[Path]:
        return [
            path
            for folder in self.folders
            for path in folder.rglob("*")
            if path.suffix in self._suffixes and path.is_file() and not path.is_symlink()
        ]
