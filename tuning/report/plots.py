"""The plots of a search, but for its hints and its choices.

Not optuna.visualization's: those leave out trials that were stopped, say nothing of chance, and
draw on pyplot's own figures, in one fixed look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from flowkd.evaluation.pareto import pareto_front
from flowkd.report.style import INK, MUTED, RULE, SERIES, svg_plot
from tuning.records import Role, Trial
from tuning.report.axes import shortened
from tuning.report.importance import Importance
from tuning.trial_row import NAMES

MAX_BARS = 15  # parameters, the most important ones
FAR = 1.25  # times the way from the best to nearly the worst trial: where an axis ends
MANY = 10  # fewer trials are all drawn where they are
HISTORY = 230  # CSS pixels
CROWD = 80  # of more trials, each mark is small
DASHES: dict[Role, tuple[int, tuple[float, ...]]] = {"plain": (0, (4, 2)), "default": (0, (1, 1.5))}
BITS = "bits per dimension"


class FrontPoint(NamedTuple):
    """A trial on the Pareto plot: its number, bits per dimension, and cost; lower is better."""

    number: int
    bits: float
    cost: float
    role: Role | None = None


def best_so_far(trials: Sequence[Trial]) -> list[tuple[int, float]]:
    """Returns (number, bits per dimension) of each finished trial that was the best so far."""
    best, steps = math.inf, []
    for trial in trials:
        if trial.state == "finished" and trial.bits_per_dim < best:
            best = trial.bits_per_dim
            steps.append((trial.start.number, best))
    return steps


def history_plot(trials: Sequence[Trial]) -> str:
    """Returns a plot of each trial's bits/dim by its number, and of the best so far.

    A line across marks each baseline, from the first trial on.
    """
    steps = best_so_far(trials)
    told = f"{len(steps)} times a trial was the best until then"
    if steps:
        number, bits = steps[-1]
        told += f", from {steps[0][1]:.3f} bits per dimension down to {bits:.3f} in trial {number}"
    for trial in trials:
        if trial.start.role and trial.state == "finished":
            told += f"; {NAMES[trial.start.role]} has {trial.bits_per_dim:.3f}"
    return svg_plot(
        lambda axes: _draw_history(axes, trials, steps),
        name="history",
        description=f"Bits per dimension of {len(trials)} trials by their number: {told}",
        height=HISTORY,
    )


def importance_plot(found: Sequence[Importance]) -> str:
    """Returns a plot with a bar for each parameter, and a mark for what chance gives."""
    shown = found[:MAX_BARS]
    told = ", ".join(f"{each.name} {each.share:.0%}" for each in shown)
    return svg_plot(
        lambda axes: _draw_importance(axes, shown),
        name="importance",
        description=f"Importance of each choice: {told}",
        height=50 + 19 * len(shown),
    )


def front_plot(points: Sequence[FrontPoint], *, faster: bool) -> str:
    """Returns a plot of finished trials by bits/dim and cost, with their Pareto front.

    Args:
        points: The finished trials.
        faster: Whether costs are negative throughputs, or else numbers of parameters.
    """
    best = pareto_front(points, cost=lambda p: p.cost, loss=lambda p: p.bits)
    unit = "times the teacher's throughput" if faster else "parameters"
    told = "; ".join(
        f"trial {p.number}, {p.bits:.3f} bits per dimension, {abs(p.cost):,.4g} {unit}"
        for p in best
    )
    return svg_plot(
        lambda axes: _draw_front(axes, points, best, faster),
        name="front",
        description=f"{len(points)} finished trials by bits per dimension and {unit}; "
        f"not beaten are {told}",
    )


def _draw_history(axes: Axes, trials: Sequence[Trial], steps: list[tuple[int, float]]) -> None:
    judged = [trial for trial in trials if math.isfinite(trial.bits_per_dim)]
    edge = edge_of([trial.bits_per_dim for trial in judged])
    for state, label, color, face in (
        ("stopped", "stopped early", MUTED, "none"),
        ("finished", "finished", SERIES[2], SERIES[2]),
    ):
        those = [trial for trial in judged if trial.state == state]
        spots = [(trial.start.number, trial.bits_per_dim) for trial in those]
        _scatter(axes, spots, edge, label, color, face)
    if steps:
        last = max(trial.start.number for trial in trials)
        line = [(number, min(bits, edge)) for number, bits in (*steps, (last, steps[-1][1]))]
        axes.step(
            *zip(*line, strict=True),
            where="post",
            color=SERIES[2],
            linewidth=1.3,
            label="best so far",
        )
    for trial in judged:
        if trial.start.role and trial.state == "finished":
            _mark_baseline(axes, trial.start.role, min(trial.bits_per_dim, edge))
    _legend(axes)
    axes.locator_params(axis="y", nbins=5)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.set_xlabel("trial")
    axes.set_ylabel(BITS)


def _mark_baseline(axes: Axes, role: Role, bits: float) -> None:
    color = SERIES[0] if role == "plain" else SERIES[1]
    axes.axhline(
        bits, color=color, linewidth=1.5, linestyle=DASHES[role], label=role, gid=f"baseline-{role}"
    )


def _draw_importance(axes: Axes, found: Sequence[Importance]) -> None:
    rows = range(len(found))
    axes.barh(rows, [each.share for each in found], height=0.62, color=SERIES[2])
    for row, each in zip(rows, found, strict=True):
        axes.vlines(each.chance, row - 0.42, row + 0.42, color=INK, linewidth=1.2)
    axes.grid(False)
    axes.grid(axis="x", color=RULE)
    axes.set_axisbelow(True)
    axes.set_yticks(rows, [shortened(each.name) for each in found])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")


def _draw_front(
    axes: Axes, points: Sequence[FrontPoint], best: Sequence[FrontPoint], faster: bool
) -> None:
    sign = -1 if faster else 1
    edge = edge_of([point.bits for point in points])
    axes.step(
        [sign * point.cost for point in best],
        [min(point.bits, edge) for point in best],
        where="post",
        color=SERIES[1],
        linewidth=1,
    )
    for those, label, color, face in (
        (points, "beaten", MUTED, "none"),
        (best, "not beaten", SERIES[1], SERIES[1]),
    ):
        _scatter(axes, [(sign * p.cost, p.bits) for p in those], edge, label, color, face)
    for point in points:
        if point.role is not None:
            axes.annotate(
                point.role, (sign * point.cost, min(point.bits, edge)), (5, 4),
                textcoords="offset points", fontsize=9.5, color=INK,
            )  # fmt: skip
    _legend(axes)
    axes.locator_params(nbins=5)
    axes.margins(0.08)
    if not faster:
        axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.set_xlabel("times the teacher's throughput" if faster else "parameters")
    axes.set_ylabel(BITS)


def _scatter(
    axes: Axes,
    spots: Sequence[tuple[float, float]],
    edge: float,
    label: str,
    color: str,
    face: str,
) -> None:
    """Draws trials; those beyond the edge are triangles on it."""
    for marker, some in (
        ("o", [(x, y) for x, y in spots if y <= edge]),
        ("^", [(x, edge) for x, y in spots if y > edge]),
    ):
        if some:
            axes.plot(
                *zip(*some, strict=True),
                linestyle="none",
                marker=marker,
                markersize=4.2 if len(spots) <= CROWD else 2.6,
                markeredgecolor=color,
                markerfacecolor=face,
                label=label if marker == "o" else None,
                clip_on=False,
            )


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9.5,
            handlelength=1.2, columnspacing=1.2, borderpad=0.2,
        )  # fmt: skip


def edge_of(bits: Sequence[float]) -> float:
    """Returns where an axis ends, so that a few bad trials do not flatten the others."""
    ordered = sorted(bits)
    if len(ordered) < MANY:
        return math.inf
    nearly_worst = ordered[int(0.85 * (len(ordered) - 1))]
    edge = ordered[0] + FAR * (nearly_worst - ordered[0])
    return edge if edge > ordered[0] else math.inf
