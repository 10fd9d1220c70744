"""The look of all plots, drawn as SVG for a page or as a PNG file for a document."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, NamedTuple

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


class Palette(NamedTuple):
    """The colours of a plot.

    Attributes:
        ink: Text.
        muted: Text that matters less.
        rule: Axes and grid.
        series: One for each series.
    """

    ink: str
    muted: str
    rule: str
    series: tuple[str, ...]


PNG = Palette(
    "#1f2328",
    "#59636e",
    "#d1d9e0",
    ("#0969da", "#bf3989", "#1a7f37", "#bc4c00", "#8250df", "#59636e"),
)
# matplotlib knows no CSS: an SVG is drawn in these, and each becomes a variable of the page.
PAGE = Palette(
    "#010101",
    "#020202",
    "#030303",
    ("#040401", "#040402", "#040403", "#040404", "#040405", "#040406"),
)
INK, MUTED, RULE, SERIES = PAGE
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"} | {
    color: f"var(--series-{number})" for number, color in enumerate(SERIES, start=1)
}
# In CSS pixels; two such plots fit beside each other on a desk, and one on a phone.
WIDTH, HEIGHT = 340, 210


def svg_plot(
    draw: Callable[[Axes], None],
    *,
    name: str,
    description: str,
    height: int = HEIGHT,
    width: int = WIDTH,
    colors: Mapping[str, str] = VARIABLES,
) -> str:
    """Returns what a function draws as an SVG element of a page.

    Args:
        draw: Draws on axes.
        name: Tells this plot's identifiers in the page from those of others.
        description: For those who don't see it.
        height: In CSS pixels.
        width: In CSS pixels.
        colors: What becomes of the colours that it draws in.
    """
    file = io.StringIO()
    with matplotlib.rc_context():
        _set_style(PAGE)
        matplotlib.rcParams.update(
            {
                "axes.grid.axis": "y",
                "axes.spines.left": False,
                "font.size": 11,
                "legend.labelcolor": MUTED,
                "svg.fonttype": "none",  # text stays text, in the page's own font
                "svg.hashsalt": name,
                "xtick.color": RULE,
                "ytick.color": RULE,
                "ytick.major.size": 0,
                "ytick.minor.size": 0,
            }
        )
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    body = _adapted(file.getvalue(), name, colors)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description)}">{body}'
    )


def png_plot(
    draw: Callable[[Axes], None], height: float, beside: Callable[[Axes], None] | None = None
) -> bytes:
    """Returns what a function draws as a PNG file; equal input, equal bytes.

    Args:
        draw: Draws on axes, in the colours of `PNG`.
        height: In inches; the width is 7, or 10 with a second plot.
        beside: Draws a second plot, to the right.
    """
    file = io.BytesIO()
    with matplotlib.rc_context():
        _set_style(PNG)
        matplotlib.rcParams.update({"axes.axisbelow": True, "figure.facecolor": "white"})
        width, columns = (10, 2) if beside else (7, 1)
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot(1, columns, 1))
        if beside:
            beside(figure.add_subplot(1, columns, 2))
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _set_style(palette: Palette) -> None:
    """Sets what all plots have in common, whatever the user's matplotlibrc says."""
    style: dict[str, Any] = {
        "axes.edgecolor": palette.rule,
        "axes.grid": True,
        "axes.labelcolor": palette.muted,
        "axes.prop_cycle": cycler(color=palette.series),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 10,
        "grid.color": palette.rule,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "text.color": palette.ink,
        "text.parse_math": False,
        "xtick.color": palette.muted,
        "xtick.labelcolor": palette.muted,
        "ytick.color": palette.muted,
        "ytick.labelcolor": palette.muted,
    }
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(style)


def _adapted(svg: str, name: str, colors: Mapping[str, str]) -> str:
    """Returns what an SVG file holds for a page that holds others, and has its own style."""

    def adapt(found: re.Match[str]) -> str:
        tag = re.sub(r"font-family: [^;\"]*;? ?", "", found[0])
        tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", tag)
        tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)  # finer than any screen shows
        return re.sub(r"#[0-9a-f]{6}\b", lambda color: colors.get(color[0], color[0]), tag)

    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", adapt, body)
