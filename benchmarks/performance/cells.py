"""What is measured: a flow, its width, the rows of a call and the threads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.performance.cases import CASES

WIDTHS, BATCHES, THREADS = (32, 128, 512), (1, 16, 256), (1, 2)
TIMED = ("glow", "coupling", "coupling spline")  # `make bench-families` has the others, too
SHAPES = {"glow": (3, 32, 32)}
COLUMNS = 63  # of a table, as the patches of the study
# A call of 256 pictures by networks of width 512 takes many seconds: fewer tell as much of a row.
MOST_WORK = 64 * 512**2  # rows times width squared


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        case: Kind of flow, of CASES.
        shape: Of one example.
        width: Of the networks.
        batch: Rows of a call.
        threads: Of torch and of the engine.
    """

    case: str
    shape: tuple[int, ...]
    width: int
    batch: int
    threads: int

    @property
    def key(self) -> str:
        """What it is called: how results are found again."""
        shape = "x".join(map(str, self.shape))
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.case} {shape}, width {self.width}, batch {self.batch}, {threads}"

    @property
    def rows(self) -> int:
        """Rows that are timed: of large calls of large networks for pictures, fewer."""
        if not CASES[self.case].picture:
            return self.batch
        return min(self.batch, MOST_WORK // self.width**2)


def all_cells() -> list[Cell]:
    """Returns those of `make bench-all`, the ones of one process together."""
    return [
        Cell(name, SHAPES.get(name, (COLUMNS,)), width, batch, threads)
        for name, threads, width, batch in itertools.product(TIMED, THREADS, WIDTHS, BATCHES)
    ]


def quick_cells() -> list[Cell]:
    """Returns a few small ones, which tell whether all works."""
    return [cell for cell in all_cells() if cell.width == min(WIDTHS) and cell.threads == 1]


def chosen(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """Returns the cells whose key contains one of some texts; all where none is given.

    Raises:
        ValueError: A text that no key contains.
    """
    for text in only:
        if not any(text in cell.key for cell in cells):
            raise ValueError(
                f"--only: expected a part of one of {len(cells)} names such as {cells[0].key!r}; "
                f"got {text!r}"
            )
    return [cell for cell in cells if not only or any(text in cell.key for text in only)]
