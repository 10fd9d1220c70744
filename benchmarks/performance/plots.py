"""The pictures of docs/results/performance.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.performance.measure import OURS
from flowkd.report.style import png_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Found = dict[str, Any]


def picture(cells: list[Found]) -> bytes:
    """Returns a PNG of one flow's cells: inference to the left, training steps to the right.

    Args:
        cells: Of one flow and one number of threads, in the order in which they are drawn.
    """

    def inference(axes: Axes) -> None:
        _draw(axes, cells, {"log_prob": "-", "sample": "--"})
        axes.set_title("log_prob (lines), sampling (dashes)", fontsize=10)

    def training(axes: Axes) -> None:
        _draw(axes, cells, {"train": "-"})
        axes.set_title("gradients of a training step", fontsize=10)

    return png_plot(inference, 3.6, beside=training)


def _draw(axes: Axes, cells: list[Found], styles: dict[str, str]) -> None:
    places = range(len(cells))
    names = list(next(iter(cells[0]["actions"].values()))["over_floor"])
    for number, name in enumerate(names):
        for action, style in styles.items():
            found = [cell["actions"][action]["over_floor"][name] for cell in cells]
            color = f"C{number}"
            low, middle, high = zip(*found, strict=True)
            first = style == "-"
            axes.plot(
                places, middle, style, color=color, marker="o", markersize=3,
                linewidth=2 if name == OURS else 1.2, label=name if first else "",
            )  # fmt: skip
            axes.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
    axes.axhline(1, color="0.5", linewidth=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.set_xticks(list(places), [f"{cell['width']}\n{cell['batch']}" for cell in cells])
    axes.set_xlabel("width of the networks, rows of a call")
    axes.set_ylabel("time over the networks alone")
    axes.legend()
