"""What is measured: each family at four numbers of columns, and a teacher slow to sample."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.performance.cells import Cell

FAMILIES = {
    "coupling": "RealNVP",
    "coupling spline": "NSF-C",
    "autoregressive": "MAF",
    "autoregressive spline": "NSF-AR",
    "inverse autoregressive": "IAF",
}
COLUMNS = (6, 21, 63, 200)
WIDTH, ROWS = 128, 64


@dataclass(frozen=True)
class SlowTeacher:
    """An NSF whose samples take a pass for each column and step, and what is faster.

    Attributes:
        columns: D.
        rows: Drawn at once.
        depth: Steps of the teacher.
        width: Of the teacher's networks.
        student_depth: Steps of the student, a coupling of splines.
        student_width: Of its networks.
        steps: Of the teacher's training on columns that hang on one another.
    """

    columns: int = 200
    rows: int = 64
    depth: int = 3
    width: int = 64
    student_depth: int = 3
    student_width: int = 30
    steps: int = 300
    case: str = "slow teacher"
    threads: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return (self.columns,)

    @property
    def key(self) -> str:
        """What it is called: how results are found again."""
        return f"{self.case} {self.columns}, width {self.width}, batch {self.rows}, 1 thread"


def all_cells() -> list[Cell | SlowTeacher]:
    """Returns those of `make bench-families`."""
    cells = [Cell(name, (columns,), WIDTH, ROWS, 1) for name in FAMILIES for columns in COLUMNS]
    return [*cells, SlowTeacher()]


def quick_cells() -> list[Cell | SlowTeacher]:
    """Returns a few small ones, which tell whether all works."""
    few = [cell for cell in all_cells() if isinstance(cell, Cell) and cell.shape[0] < 63]
    return [*few, SlowTeacher(columns=20, steps=20)]
