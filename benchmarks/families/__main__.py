"""make bench-families: results/bench-families.json, cell by cell; 10 minutes where it is quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.families.cells import all_cells, quick_cells
from benchmarks.families.measure import measure
from benchmarks.performance.__main__ import run

RESULTS = Path("results/bench-families.json")


def main() -> None:
    """Measures the cells that are asked for, and adds them to the results."""
    run(__doc__, RESULTS, all_cells, quick_cells, measure, in_short)
    print("`make docs` writes docs/results/families.md")


def in_short(found: dict[str, Any]) -> str:
    """Returns a cell in a line."""
    if "ways" in found:
        return "; ".join(f"{name} {way['faster'][1]:.1f}x" for name, way in found["ways"].items())
    return "; ".join(
        f"{action} {each['ahead'][1]:.2f}x {each['fastest_peer']}"
        + (f", form {each['form_ahead'][1]:.2f}x" if each["form_ahead"] else "")
        for action, each in found["actions"].items()
    )


if __name__ == "__main__":
    main()
