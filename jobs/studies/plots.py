"""The plots of a study's document: the gap that each arm closes, and validation curves."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from flowkd.report.style import PAGE, PNG, Palette, png_plot
from jobs.studies.config import TEACHER
from jobs.studies.results import Results, StudyFacts

DOCUMENT_LOOK, PAGE_LOOK = PNG, PAGE  # colours
WIDEST_GAP = 2.0  # times the gap: a run further below the plain student is drawn there
EARLY = 0.1  # share of the steps at the beginning that may leave the plot


def gap_plot(results: Results, study: StudyFacts) -> bytes:
    """Returns a plot of the share of the gap that each arm closes.

    A dot is a run, an upright bar the mean, a level one its 95% interval over groups of rows.
    """
    arms = arms_with_gap(results, study)
    return png_plot(
        lambda axes: draw_gaps(axes, results, study, arms, DOCUMENT_LOOK), 1.0 + 0.3 * len(arms)
    )


def arms_with_gap(results: Results, study: StudyFacts) -> list[str]:
    """Returns the arms of which it is known which share of the gap they close."""
    return [arm for arm, row in results.of(study.name).items() if row.gap_closed is not None]


def study_curves_plot(results: Results, study: StudyFacts) -> bytes:
    """Returns a plot of validation bits per dimension against steps, the mean over runs."""
    return png_plot(lambda axes: _draw_curves(axes, results, study), 3.6)


def draw_gaps(
    axes: Axes, results: Results, study: StudyFacts, arms: list[str], look: Palette
) -> None:
    """Draws the share of the gap that each arm closes."""
    for place, arm in enumerate(arms):
        gaps = [
            line.gap_closed
            for line in results.runs
            if line.study == study.name and line.arm == arm and line.gap_closed is not None
        ]
        color = look.muted if arm != study.best else look.series[2 if look is PAGE else 0]
        mean = _clipped(sum(gaps) / len(gaps))
        axes.plot(
            [_clipped(gap) for gap in gaps],
            [place] * len(gaps),
            "o",
            color=color,
            alpha=0.6,
            markersize=5,
        )
        axes.plot([mean, mean], [place - 0.35, place + 0.35], color=color, linewidth=2)
        error = results.of(study.name)[arm].gap
        if error is not None and error.low is not None and error.high is not None:
            axes.plot([_clipped(error.low), _clipped(error.high)], [place] * 2, color=color)
    for value, style in ((0.0, "-"), (1.0, "-"), (study.targets.gap_closed, ":")):
        axes.axvline(value, color=look.muted, linewidth=0.9, linestyle=style, zorder=0)
    axes.set_yticks(range(len(arms)), arms)
    if look is PAGE:
        axes.tick_params(axis="y", labelcolor=look.ink)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    told = "" if look is PAGE else ": 0% plain student, 100% teacher; dotted: target"
    axes.set_xlabel(f"share of the gap closed{told}")


def _clipped(gap: float) -> float:
    return max(-WIDEST_GAP, gap)


def _draw_curves(axes: Axes, results: Results, study: StudyFacts) -> None:
    late = []
    for arm, curve in study.curves.items():
        axes.plot(*zip(*curve, strict=True), label=arm, linewidth=1.5, marker="o", markersize=2.5)
        late += [value for step, value in curve if step >= EARLY * curve[-1][0]]
    teacher = results.of(study.name)[TEACHER].validation
    if teacher is not None:
        axes.axhline(teacher, color=PNG.ink, linewidth=1, linestyle="--", label=TEACHER)
        late.append(teacher)
    late = [value for value in late if math.isfinite(value)]
    if late:
        margin = 0.05 * (max(late) - min(late) or 1)
        axes.set_ylim(min(late) - margin, max(late) + margin)
        axes.legend(loc="upper right")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.set_xlabel("step")
    axes.set_ylabel("validation bits/dim")
