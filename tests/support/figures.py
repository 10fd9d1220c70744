"""Figures of teacher, plain and distilled student on groups whose bits per dimension are given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.intervals import GroupBits, mean_of

Bits = Mapping[str, np.ndarray]


def figures_on(test: Bits, validation: Bits, rows: int = 3) -> dict[str, FlowFigures]:
    """Returns figures of flows by label; each group has so many rows, all of the same bits."""
    found = {}
    for label in test:
        by_group = grouped(test[label], rows)
        found[label] = FlowFigures(
            f"runs/{label}", by_group.mean, mean_of(by_group).error, 1000, 10.0, 10.0, 100, 1e-6,
            by_group=by_group, validation=grouped(validation[label], rows),
        )  # fmt: skip
    return found


def grouped(bits: np.ndarray, rows: int = 3) -> GroupBits:
    """Returns groups of so many rows, all rows of one with the same bits per dimension."""
    return GroupBits.of(np.repeat(bits, rows), np.repeat(np.arange(len(bits)), rows))


def flows(teacher: float, plain: float, distilled: float, groups: int, noise: float = 0.01) -> Bits:
    """Returns bits of pictures that differ by much, on which flows differ by about what is said."""
    draw = np.random.default_rng(0)
    shared = draw.normal(0, 0.5, groups)
    means = {"teacher": teacher, "plain": plain, "distilled": distilled}
    return {
        label: mean + shared - shared.mean() + own - own.mean()
        for label, mean in means.items()
        for own in [draw.normal(0, noise, groups)]
    }
