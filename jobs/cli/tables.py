"""Figures as a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.table import Table

from flowkd.evaluation.compare import FlowFigures
from flowkd.text import visible
from jobs.cli.console import PlainConsole


def figures_table(figures: Mapping[str, FlowFigures], *, gap_closed: float | None = None) -> None:
    """Prints flows beside each other; rates and sizes relative to the first."""
    first = next(iter(figures.values()))
    table = Table(box=None, pad_edge=False)
    for name in ("", "bits/dim", "parameters", "log_prob/s", "samples/s", "steps"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for label, flow in figures.items():
        table.add_row(
            visible(label),
            f"{flow.bits_per_dim:.3f} ± {flow.standard_error:.3f}",
            f"{flow.parameters:,} ({flow.parameters / first.parameters:.0%})",
            _relative(flow.log_prob_per_second, first.log_prob_per_second),
            _relative(flow.samples_per_second, first.samples_per_second),
            f"{flow.steps:,}",
        )
    # Wide enough for the whole table: without a terminal, columns would be cut.
    PlainConsole(100).print(table)
    if gap_closed is not None:
        share = f"{gap_closed:.0%}" if math.isfinite(gap_closed) else "there is no gap"
        print(f"share of the gap between plain student and teacher closed: {share}")


def _relative(rate: float, of: float) -> str:
    return f"{rate:,.0f} ({rate / of:.1f}x)"
