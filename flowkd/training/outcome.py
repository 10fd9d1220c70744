"""What a run says of its outcome: which weights it keeps, and what it has to warn of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Bits per dimension: less is what chance and the average over steps make.
RISE = 0.02
BITS = "validation_bits_per_dim"


def kept_weights(best_step: int, steps: int, best: float) -> str:
    """Returns in words which weights a run keeps."""
    return f"the weights of step {best_step:,} of {steps:,} are kept, at {best:.3f} bits/dim"


def warning_of(
    step: int, bits: float, best_step: int, best: float, round_trip: float
) -> str | None:
    """Returns what is to be warned of after a validation; None for nothing.

    Args:
        step: After so many steps.
        bits: Bits per dimension of validation then.
        best_step: Steps before the best validation so far.
        best: Its bits per dimension.
        round_trip: Error after a round trip then, as the flow is served.
    """
    from flowkd.flows.round_trip import too_far_off  # whoever reads outcomes needs no torch

    found = []
    if bits > best + RISE:
        found.append(
            f"validation has risen from {best:.3f} bits/dim after step {best_step:,} to {bits:.3f} "
            f"after {step:,}: more rows, a smaller flow or fewer steps"
        )
    off = too_far_off(round_trip)
    if off is not None:
        found.append(f"{off}: a lower learning_rate, or fewer steps")
    return "; ".join(found) or None


def judged_of(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the validations of a run's log among which its weights were chosen.

    Not the one at the end that a run had before its steps grew, unless it is one of all lengths.
    """
    judged = [record for record in records if BITS in record]
    return [record for record in judged if not record.get("at_end") or record is judged[-1]]


def summary_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns in words, of a run's log, which weights it keeps, and what it last warned of."""
    judged = judged_of(records)
    if not judged:
        return []
    best = min(judged, key=lambda record: record[BITS])
    warning = judged[-1].get("warning")
    kept = kept_weights(best["step"], judged[-1]["step"], best[BITS])
    return [kept, *([warning] if warning else [])]
