"""What a flow has to be before it is published, and what is noted where that is overruled."""

from __future__ import annotations

from flowkd.data.batch import Batch
from flowkd.errors import RefusedError
from flowkd.flows.flow import Flow
from flowkd.flows.round_trip import served_round_trip_error, too_far_off

# Bits per dimension by which a flow may be worse: a flow of Gaussian data is, by chance.
MARGIN = 0.01


def check_round_trip(
    name: str, flow: Flow, rows: Batch | None, limit: float, force: bool
) -> tuple[float, list[str]]:
    """Measures a flow's error after a round trip, as it is served, on samples and on rows.

    Args:
        name: Of the model.
        flow: To be published.
        rows: Data, on which it is measured as well; default none.
        limit: The most that it may be off.
        force: Whether it is published all the same.

    Returns:
        The error, and what has to be noted of it.

    Raises:
        RefusedError: It is further off than that.
    """
    x, context = (rows.x, rows.context) if rows is not None else (None, None)
    error = served_round_trip_error(flow, x, context)
    fact = too_far_off(error, limit)
    if fact is None:
        return error, []
    remedy = (
        "train it again with a lower learning_rate or fewer steps, raise max_round_trip_error, or "
        "publish it by force"
    )
    return error, refused_or_noted(name, fact, remedy, force)


def check_beats_gaussian(
    name: str, bits: float, gaussian: float, *, error: float, train_rows: int, force: bool
) -> list[str]:
    """Compares a flow with a Gaussian on the same rows; returns what has to be noted.

    Args:
        name: Of the model.
        bits: Of the flow, per dimension of the validation rows.
        gaussian: Of the Gaussian.
        error: Standard error of their difference over these rows.
        train_rows: How many rows both learnt from.
        force: Whether it is published all the same.

    Raises:
        RefusedError: The Gaussian is better, by more than the rows leave open.
    """
    if bits <= gaussian + max(MARGIN, error):
        return []
    fact = (
        f"on validation it has {bits:.3f} bits/dim, and a Gaussian fitted to the same training "
        f"rows {gaussian:.3f}: the {train_rows:,} rows that it learnt from may be too few"
    )
    remedy = (
        "train it on more rows, for longer if its validation still falls, or as a smaller flow if "
        "it rises; or publish it by force"
    )
    return refused_or_noted(name, fact, remedy, force)


def refused_or_noted(name: str, fact: str, remedy: str, force: bool) -> list[str]:
    """Returns the remark of a model that is published by force; raises RefusedError otherwise."""
    if not force:
        raise RefusedError(
            f"model {name!r} is not published: {fact}: {remedy} (force: true), which its card notes"
        )
    return [f"Published by force: {fact}."]
