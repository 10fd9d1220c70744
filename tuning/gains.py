"""What a search has gained so far: its best trial beside the baselines, on the validation rows."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.trial_row import NAMES, TrialRow


def best_row(rows: Sequence[TrialRow]) -> TrialRow | None:
    """Returns the finished trial of the fewest bits per dimension, the first of several; or None.

    Baselines come first: a candidate is the best if it is better than both.
    """
    finished = [row for row in rows if row.state == "finished" and row.bits_per_dim is not None]
    return min(finished, key=lambda row: (row.bits_per_dim, row.number), default=None)


def gains_of(rows: Sequence[TrialRow]) -> dict[str, float | None]:
    """Returns by how many bits per dimension the best trial is better than each baseline.

    They are of the validation rows, by which the best was chosen. None as long as the baseline has
    not ended, or where it failed.
    """
    best = _bits(best_row(rows))
    found: dict[str, float | None] = {}
    for role in NAMES:
        bits = _bits(_baseline(rows, role))
        found[role] = None if bits is None or best is None else bits - best
    return found


def gains_in_words(rows: Sequence[TrialRow]) -> str:
    """Returns in a sentence how much better the best trial is than each baseline.

    It is empty as long as no trial has been trained to its end, or of a search without baselines.
    """
    best = best_row(rows)
    if best is None or not any(row.role for row in rows):
        return ""
    who = NAMES[best.role] if best.role else f"trial {best.number}"
    return (
        f"The best so far is {who}, with {best.bits_per_dim:.4f} bits per dimension on the "
        f"validation rows: {gained_over(rows)}."
    )


def gained_over(rows: Sequence[TrialRow]) -> str:
    """Returns how many bits per dimension less than each baseline the best trial has.

    It is empty of a search without baselines, or without a best trial.
    """
    best = best_row(rows)
    if best is None or not any(row.role for row in rows):
        return ""
    told = [_beside(role, gain, rows) for role, gain in gains_of(rows).items() if role != best.role]
    return " and ".join(told)


def _beside(role: str, gain: float | None, rows: Sequence[TrialRow]) -> str:
    name = next(name for each, name in NAMES.items() if each == role)
    if gain is not None:
        return f"{gain:.3f} less than {name}" if gain else f"as many as {name}"
    found = _baseline(rows, role)
    failed = found is not None and found.state == "failed"
    return f"{name} {'failed' if failed else 'has not ended'}"


def _baseline(rows: Sequence[TrialRow], role: str) -> TrialRow | None:
    return next((row for row in rows if row.role == role), None)


def _bits(row: TrialRow | None) -> float | None:
    """Returns the bits per dimension of a trial that was trained to its end, or None."""
    return row.bits_per_dim if row is not None and row.state == "finished" else None
