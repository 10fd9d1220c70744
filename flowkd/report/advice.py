"""What to do next, where a distillation did not help: rules on its figures, curves and config."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.intervals import difference
from flowkd.report.comparison import ROLES, by_role, gap_share, has_roles, percent
from flowkd.training.config import TrainingConfig
from flowkd.training.outcome import BITS, RISE

HELPED = 0.75  # share of the gap closed, from which on nothing is advised
STILL = 0.02  # bits per dimension gained over the last fifth: more steps would gain more
SMALL_GAP = 0.01  # bits per dimension
SMALL, LARGE = 0.1, 0.6  # shares of the teacher's parameters
SEARCH = "`python -m jobs.search --config FILE`"
Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Learning:
    """How validation went over a training.

    Attributes:
        last: Steps of it.
        best: Steps before the best validation.
        risen: Bits per dimension from there to the end.
        gained: Bits per dimension by which the last fifth is better than all before.
    """

    last: int
    best: int
    risen: float
    gained: float

    @classmethod
    def of(cls, records: Records) -> Learning | None:
        """Reads it off a run's log; None where that holds less than two validations."""
        judged = [(each["step"], each[BITS]) for each in records if BITS in each]
        judged = [(step, bits) for step, bits in judged if math.isfinite(bits)]
        if len(judged) < 2:
            return None
        last = judged[-1][0]
        best, bits = min(judged, key=lambda each: each[1])
        before = [value for step, value in judged[:-1] if step <= 0.8 * last] or [judged[0][1]]
        return cls(last, best, judged[-1][1] - bits, min(before) - bits)

    @property
    def by_heart(self) -> bool:
        """Whether it went on to get worse on rows that it did not learn from."""
        return self.risen > RISE

    @property
    def unfinished(self) -> bool:
        """Whether more steps would have made it better."""
        return not self.by_heart and self.gained > STILL


def next_steps(
    figures: Mapping[str, FlowFigures],
    curves: Mapping[str, Records] | None = None,
    distilled: TrainingConfig | None = None,
) -> list[str]:
    """Returns what to do next, a few sentences each, the most promising first.

    It is empty where distillation closed a good share of the gap, or one of ROLES is not there.

    Args:
        figures: Of the flows, on held-out data.
        curves: Metrics records of each run; default unknown.
        distilled: Config of the distilled student's run; default unknown.
    """
    if not has_roles(figures):
        return []
    figures = by_role(figures)
    if not all(math.isfinite(flow.bits_per_dim) for flow in figures.values()):
        return []
    closed = gap_share(figures).estimate
    if closed >= HELPED:
        return []
    learnt = {role: Learning.of((curves or {}).get(role, ())) for role in ROLES}
    found = _on_the_teacher(figures, learnt["teacher"])
    if math.isnan(closed):
        return found or [_no_better_teacher(figures)]
    found += _on_the_gap(figures)
    found += _on_the_student(figures, learnt["distilled"])
    if distilled is not None and distilled.distillation is not None:
        found += _on_the_recipe(distilled)
    return [*found, f"A search tries weights, hints, sizes and learning rates: {SEARCH}."]


def _on_the_teacher(figures: Mapping[str, FlowFigures], learnt: Learning | None) -> list[str]:
    if learnt is None:
        return []
    if learnt.by_heart:
        return [
            f"The teacher learnt its rows by heart: validation was best after step "
            f"{learnt.best:,} and {learnt.risen:.3f} bits per dimension worse after "
            f"{learnt.last:,}. Give it more rows, or make it smaller; what it knows beyond that "
            f"step does not help a student."
        ]
    if learnt.unfinished:
        return [
            f"The teacher needs more steps: over the last fifth of its {learnt.last:,} its "
            f"validation still fell by {learnt.gained:.3f} bits per dimension. Give it "
            f"{2 * learnt.last:,} steps: `train: {{steps: {2 * learnt.last}}}`."
        ]
    return []


def _no_better_teacher(figures: Mapping[str, FlowFigures]) -> str:
    teacher, plain, _ = figures.values()
    share = percent(plain.parameters / teacher.parameters)
    return (
        f"With {share} of its parameters the plain student is as good as the teacher, which has "
        f"nothing to hand down: make the teacher deeper or wider, or take the plain student, "
        f"perhaps a smaller one."
    )


def _on_the_gap(figures: Mapping[str, FlowFigures]) -> list[str]:
    teacher, plain, _ = figures.values()
    gap = plain.bits_per_dim - teacher.bits_per_dim
    sure = True
    if plain.by_group and teacher.by_group:
        found = difference(plain.by_group, teacher.by_group)
        sure = not (found.known and found.nothing)
    if gap >= SMALL_GAP and sure:
        return []
    why = "small" if gap < SMALL_GAP else "within its error"
    share = plain.parameters / teacher.parameters
    return [
        f"The gap of {gap:.3f} bits per dimension is {why}: data alone teach a student of "
        f"{percent(share)} of the parameters nearly all. Ask for a smaller student, such as "
        f"`objective: {{share: {max(share / 3, 0.01):.2g}}}`, or for a better teacher."
    ]


def _on_the_student(figures: Mapping[str, FlowFigures], learnt: Learning | None) -> list[str]:
    teacher, _, distilled = figures.values()
    share = distilled.parameters / teacher.parameters
    found = []
    if learnt is not None and learnt.by_heart:
        found.append(
            f"The distilled student learnt its rows by heart: validation was best after step "
            f"{learnt.best:,} of {learnt.last:,}. Let it learn from the teacher's samples too, "
            f"of which there are as many as one likes: leave `objective.weights` out."
        )
    if learnt is not None and learnt.unfinished:
        found.append(
            f"The distilled student needs more steps: its validation still fell by "
            f"{learnt.gained:.3f} bits per dimension over the last fifth. Give both students "
            f"{2 * learnt.last:,} steps: `train: {{steps: {2 * learnt.last}}}`."
        )
    if share < SMALL:
        found.append(
            f"The student has {percent(share)} of the teacher's parameters, which may not be "
            f"enough for what the teacher knows: try `objective: {{share: 0.25}}`."
        )
    if share > LARGE:
        found.append(
            f"The student has {percent(share)} of the teacher's parameters: data alone teach it "
            f"nearly as much. Try `objective: {{share: 0.25}}`, or a larger teacher."
        )
    return found


def _on_the_recipe(run: TrainingConfig) -> list[str]:
    objective = run.distillation
    assert objective is not None
    found = []
    if objective.warm_start == "none":
        found.append(
            "The student began at random. It can begin as the teacher, folded to its size, where "
            "their families allow it: leave `objective.warm_start` out."
        )
    if not objective.weights.ever("samples"):
        found.append(
            "The student learnt from none of the teacher's samples, which was what helped most in "
            "the studies: leave `objective.weights` out."
        )
    return found
