"""The share of the gap that each run closes, and the errors of an arm's figures over groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowkd.evaluation.intervals import gaps_closed, interval_of, resampled, share_interval
from jobs.studies.config import PLAIN, TEACHER, StudyConfig
from jobs.studies.results import RunRow, Uncertain

Drawn = np.ndarray  # an estimate, then its resamples


def with_gaps(config: StudyConfig, lines: Sequence[RunRow]) -> list[RunRow]:
    """Returns the rows with the share of the gap that each closes, where there is a gap."""
    changes = []
    for line in lines:
        drawn = _gap(config, line, lines)
        closed = None if drawn is None or not np.isfinite(drawn[0]) else float(drawn[0])
        changes.append(line.model_copy(update={"gap_closed": closed}))
    return changes


def arm_errors(config: StudyConfig, arm: str, lines: Sequence[RunRow]) -> dict[str, Any]:
    """Returns the errors and differences of `SummaryRow` of an arm.

    Args:
        config: The study.
        arm: Name of the arm, or `teacher`.
        lines: The rows of all arms.
    """
    own = _of(lines, arm)
    found: dict[str, Any] = {}
    tested = _mean(own, "test")
    if tested is not None:
        error = interval_of(tested).error
        found["test_error"] = error if np.isfinite(error) else None
    others = {"minus_plain": compared_with(config, arm), "minus_best": config.best}
    for key, other in others.items():
        if other != arm:
            found[key] = _difference(own, _of(lines, other), "test")
            found[f"validation_{key}"] = _difference(own, _of(lines, other), "validation")
    gaps = [_gap(config, line, lines) for line in own]
    known = [gap for gap in gaps if gap is not None and np.isfinite(gap[0])]
    if known and arm != compared_with(config, arm):
        found["gap"] = Uncertain.of(share_interval(np.mean(known, axis=0)))
    return found


def compared_with(config: StudyConfig, arm: str) -> str:
    """Returns the name of the plain arm that an arm's gain is measured against."""
    return PLAIN if arm == TEACHER else config.arms[arm].compared_with


def _of(lines: Sequence[RunRow], arm: str) -> list[RunRow]:
    return [line for line in lines if line.arm == arm]


def _mean(lines: Sequence[RunRow], split: str) -> Drawn | None:
    """Returns the mean over runs, all resampled alike; None if none has been measured."""
    known = [bits for line in lines if (bits := getattr(line, f"{split}_bits")) is not None]
    return np.mean([resampled(bits) for bits in known], axis=0) if known else None


def _difference(own: Sequence[RunRow], others: Sequence[RunRow], split: str) -> Uncertain | None:
    first, second = _mean(own, split), _mean(others, split)
    if first is None or second is None:
        return None
    return Uncertain.of(interval_of(first - second))


def _gap(config: StudyConfig, line: RunRow, lines: Sequence[RunRow]) -> Drawn | None:
    """Returns the share that a run closes of the gap to its own teacher, resampled."""
    if line.arm == TEACHER or line.test_bits is None:
        return None
    teachers = _of(lines, TEACHER)
    # Without a teacher of its own, a run is measured against the teachers' mean.
    if line.teacher_seed is not None:
        teachers = [each for each in teachers if each.teacher_seed == line.teacher_seed]
    teacher = _mean(teachers, "test")
    plain = _mean(_of(lines, compared_with(config, line.arm)), "test")
    if teacher is None or plain is None:
        return None
    return gaps_closed(teacher, plain, resampled(line.test_bits))
