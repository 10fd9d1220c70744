"""The blocks of code in README.md and docs/, and the commands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"(?:#|//) not run by the tests: \w+")


@dataclass(frozen=True)
class Block:
    """A block of code: on which page, in what, and what it says."""

    page: Path
    language: str
    text: str

    @property
    def runs(self) -> bool:
        """Tells whether the tests run it."""
        return NOT_RUN.match(self.text) is None

    @property
    def file(self) -> str | None:
        """Returns the name of the file that it is, by its first line."""
        found = re.match(r"# (\S+\.(?:yaml|py))\n", self.text)
        return found[1] if found else None


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Returns the blocks of a page in their order, of one language or all."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(page, name, text) for name, text in found if language in (None, name)]


def commands(block: Block) -> list[str]:
    """Returns the commands of a block of shell, each on one line and without its remark."""
    lines = block.text.replace("\\\n", " ").splitlines()
    without_remarks = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in lines)
    return [line for line in without_remarks if line]


def name_of(page: Path) -> str:
    """Returns what a page is called in the list of tests."""
    return page.relative_to(ROOT).as_posix()
