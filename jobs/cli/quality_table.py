"""The quality of samples as a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.table import Table

from flowkd.data.groups import describe_rows
from flowkd.evaluation.quality import Figure, Quality
from flowkd.text import visible
from jobs.cli.console import PlainConsole

# What fits on a line; the rest is in evaluations/NAME.json.
SHOWN = {
    "c2st_auc": "C2ST AUC",
    "c2st_auc_with_context": "with context",
    "sliced_wasserstein": "sliced Wasserstein",
    "mmd2": "MMD^2",
    "coverage": "coverage",
}
WORST = "worst KS"


def quality_table(found: Mapping[str, Quality]) -> None:
    """Prints how far samples of each flow are from data, and what samples of the data's would be.

    Args:
        found: By label of the flow; none prints nothing.
    """
    measured = {label: each for label, each in found.items() if each.figures or each.columns}
    if measured:
        _print_measured(measured)
    for label, quality in found.items():
        if quality.note:
            print(visible(f"samples of {label} were not compared with data: {quality.note}"))
        if quality.not_finite:
            print(visible(f"{quality.not_finite:,} samples of {label} are not finite: left out"))


def _print_measured(measured: Mapping[str, Quality]) -> None:
    some = next(iter(measured.values()))
    rows = {visible(label): _cells(quality) for label, quality in measured.items()}
    names = [name for name in (*SHOWN, WORST) if any(row.get(name) for row in rows.values())]
    alike = {name: figure.alike for name, figure in some.figures.items()}
    alike[WORST] = some.worst_column[1].alike if some.worst_column else None
    rows["if they were data"] = {
        name: f"{value:.3g}" for name, value in alike.items() if value is not None
    }
    table = Table(box=None, pad_edge=False)
    table.add_column("samples of", no_wrap=True)
    for name in names:
        table.add_column(SHOWN.get(name, name), justify="right", no_wrap=True)
    for label, cells in rows.items():
        table.add_row(label, *(cells.get(name, "") for name in names))
    print()
    PlainConsole(160).print(table)
    first = next(iter([*some.figures.values(), *some.columns.values()]))
    print(
        f"± standard error, of {first.samples:,} samples beside "
        f"{describe_rows(first.rows, first.groups)}"
    )
    if "c2st_auc" in names:
        print("C2ST AUC: 0.5 if a classifier cannot tell samples from data, 1 if it always can")


def _cells(quality: Quality) -> dict[str, str]:
    cells = {name: _with_error(figure) for name, figure in quality.figures.items()}
    if quality.worst_column is not None:
        name, figure = quality.worst_column
        cells[WORST] = f"{visible(name)} {_with_error(figure)}"
    return cells


def _with_error(figure: Figure) -> str:
    """Returns value and error, with two digits of the error: at least 3 decimals, at most 6."""
    exact = math.isfinite(figure.error) and figure.error > 0
    decimals = min(6, max(3, 1 - math.floor(math.log10(figure.error)))) if exact else 3
    return f"{figure.value:.{decimals}f} ± {figure.error:.{decimals}f}"
