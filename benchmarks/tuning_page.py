"""The page docs/results/tuning.md: what make bench-tuning found, in words and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes

from flowkd.report.style import png_plot
from tuning.records import Trial

PICTURE = "tuning.png"
SEEDS = (0, 1, 2)
STEPS, TRIALS = 300, 12  # of a whole trial; and how many of those make the budget
BUDGET = STEPS * TRIALS
SHARES = (0.25, 0.5, 1.0)  # of the budget, at which the ways are compared
AIM = 1.15


@dataclass(frozen=True)
class Point:
    """The best finished trial after so many steps of all trials together."""

    steps: int
    bits_per_dim: float


def best_by_steps(trials: Sequence[Trial]) -> list[Point]:
    """Returns how good the best finished candidate is after each that ends.

    The trials that every search begins with, the same for all, are left out. Steps of trials
    that were stopped, or failed, are spent as well.
    """
    drawn = (trial.end for trial in trials if trial.end and trial.start.role is None)
    ended = sorted(drawn, key=lambda end: end.time)
    spent, best, points = 0, math.inf, []
    for end in ended:
        spent += end.curve[-1][0] if end.curve else 0
        if end.state == "finished":
            best = min(best, end.bits_per_dim)
        points.append(Point(spent, best))
    return points


def value_at(curve: Sequence[Point], steps: float) -> float:
    """Returns the best when so many steps were spent; infinite before any trial was finished."""
    return min((p.bits_per_dim for p in curve if p.steps <= steps), default=math.inf)


def sentence(results: dict[str, Any]) -> str:
    """Returns a sentence that compares the first way with the others, over the seeds."""
    at_end = {way: _values(results, way, 1.0) for way in results["curves"]}
    means = {way: fmean(values) for way, values in at_end.items()}
    searched, *others = means
    parts = []
    for other in others:
        wins = sum(a < b for a, b in zip(at_end[searched], at_end[other], strict=True))
        gain = means[other] - means[searched]
        better = "better" if gain > 0 else "worse"
        parts.append(
            f"{abs(gain):.3f} bits/dim {better} than {other} on average, and better in {wins} of "
            f"{len(SEEDS)} seeds"
        )
    return f"For the same {BUDGET:,} steps {searched} is {'; '.join(parts)}."


def _values(results: dict[str, Any], way: str, share: float) -> list[float]:
    curves = [[Point(**point) for point in curve] for curve in results["curves"][way]]
    return [value_at(curve, share * BUDGET) for curve in curves]


def _cell(values: Sequence[float]) -> str:
    if not all(map(math.isfinite, values)):
        return "none finished"
    return f"{fmean(values):.3f} ± {stdev(values):.3f}"


def picture(results: dict[str, Any]) -> bytes:
    """Returns the best so far against the steps spent, each seed a line, as a PNG file."""

    def draw(axes: Axes) -> None:
        for number, (way, curves) in enumerate(results["curves"].items()):
            for seed, curve in enumerate(curves):
                points = [p for p in curve if math.isfinite(p["bits_per_dim"])]
                axes.step(
                    [p["steps"] for p in points],
                    [p["bits_per_dim"] for p in points],
                    where="post",
                    color=f"C{number}",
                    linewidth=1.2,
                    label="" if seed else way,
                )
        axes.axvline(BUDGET, color="0.7", linewidth=0.8)
        axes.set_xlabel("optimiser steps of all trials")
        axes.set_ylabel("best validation bits/dim")
        axes.legend()

    return png_plot(draw, 3.6)


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/tuning.md, and draws its picture."""
    Path("docs/results", PICTURE).write_bytes(picture(results))
    rows = []
    for way in results["curves"]:
        cells = [_cell(_values(results, way, share)) for share in SHARES]
        trials = fmean(
            sum(point["steps"] <= BUDGET for point in curve) for curve in results["curves"][way]
        )
        rows.append(f"| {way} | {' | '.join(cells)} | {trials:.0f} |")
    heads = " | ".join(f"after {share * BUDGET:,.0f} steps" for share in SHARES)
    over = results["overhead"]
    how = (
        f"All three train the quickstart's distilled student of its teacher "
        f"({results['teacher_bits_per_dim']:.3f} bits/dim), {STEPS} steps a trial, two trials at a "
        f"time. *TPE and ASHA* and *random search* choose hints, weights and their schedules, warm "
        f"start and learning rate; the first stops trials that fall behind and so begins more of "
        f"them. *Paper's weights* are .9 nll and .1 latent from a random start, and the whole "
        f"budget goes into its learning rate, in the same range; what a folded start alone gives "
        f"is in [study.md](study.md). Best validation bits/dim of the trials that were finished, "
        f"mean and standard deviation over {len(SEEDS)} seeds:"
    )
    cost = (
        f"**Overhead.** {over['trials']} trials of {over['seconds_of_a_trial']:.0f} s each, "
        f"{over['at_once']} at a time, took {over['wall_seconds']:.0f} s: {over['ratio']:.3f} "
        f"times their pure training (aim: at most {AIM} for trials of 60 s)."
    )
    return f"""# Does the search pay?

`make bench-tuning`, {results["date"]}, {results["machine"]}, torch {results["torch"]};
{results["seconds"] / 60:.0f} minutes in all.

{fill(sentence(results), 100)}

{fill(how, 100)}

| | {heads} | trials |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

![best validation bits/dim against steps]({PICTURE})

The best is chosen on the rows that it is judged on here, so that all figures are a little too good;
what a search publishes is looked at on the test split.

{fill(cost, 100)}
"""
