"""Figures as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from flowkd.evaluation.figures import FlowFigures
from flowkd.report.caveats import few_groups, first_lines, held_out
from flowkd.report.comparison import ENGINES, UNALIKE, differences, gap_text, has_roles
from flowkd.text import visible
from jobs.cli.console import PlainConsole
from jobs.cli.quality_table import quality_table


def figures_table(figures: Mapping[str, FlowFigures]) -> None:
    """Prints flows beside each other; rates and sizes relative to the first.

    What must be known before comes first: see `flowkd.report.caveats`. Below come the differences
    from the first flow, and the share of the gap if they are teacher, plain and distilled student.
    """
    for sentence in first_lines(figures):
        print(sentence)
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
    if len({flow.family for flow in figures.values()}) > 1:
        for label, flow in figures.items():
            print(visible(f"{label}: {flow.family}; {flow.passes}"))
    if len({flow.engine for flow in figures.values()}) > 1:
        engines = ", ".join(f"{label} {ENGINES[flow.engine]}" for label, flow in figures.items())
        print(visible(f"computed by: {engines}; {UNALIKE}"))
    if found := held_out(figures):
        print(f"± standard error over groups of rows, of {found}")
    for line in differences(figures):
        print(visible(line))
    if has_roles(figures):
        print(f"share of the gap between plain student and teacher closed: {gap_text(figures)}")
    for sentence in few_groups(figures):
        print(visible(sentence))
    quality_table({label: flow.quality for label, flow in figures.items() if flow.quality})


def _relative(rate: float, of: float) -> str:
    return f"{rate:,.0f} ({rate / of:.1f}x)"
