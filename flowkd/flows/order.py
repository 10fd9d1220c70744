"""What stands between the steps of a table's flow: a learned map, or an order of its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator

from flowkd.bijectors import Invertible1x1, LinearMap, Permute
from flowkd.flows.family import group_bounds

Mixing = Literal["linear", "reverse"]
SHOWN = 6  # columns that a message shows


def permutation(order: tuple[int, ...]) -> tuple[int, ...]:
    """Returns an order of columns; raises ValueError for one that has not each of them once."""
    if sorted(order) == list(range(len(order))) and len(order) > 1:
        return order
    seen = Counter(order)
    faults = {
        "missing": [column for column in range(max(2, len(order))) if column not in seen],
        "given more than once": [column for column, count in seen.items() if count > 1],
        "no such column": [column for column in seen if not 0 <= column < len(order)],
    }
    said = "; ".join(f"{what}: {_some(columns)}" for what, columns in faults.items() if columns)
    raise ValueError(
        f"expected a permutation of the columns, numbered from 0, each once; got {_some(order)}: "
        f"{said}"
    )


Order = Annotated[tuple[int, ...], AfterValidator(permutation)]


def check_order(order: Sequence[int] | None, mix: Mixing, shape: tuple[int, ...] | None) -> None:
    """Raises ValueError for an order that steps cannot keep, or one of more or fewer columns."""
    if order is None:
        return
    if mix != "reverse":
        raise ValueError(
            f"expected mix: reverse, for order: a learned map between steps makes each column a "
            f"mix of all; got mix: {mix}: leave order out, or set mix: reverse"
        )
    if shape is not None and shape != (len(order),):
        raise ValueError(
            f"expected an order of all columns of event_shape {shape}; got one of {len(order)}, "
            f"{_some(order)}"
        )


def check_reversals(
    kind: str, mix: Mixing, order: Sequence[int] | None, depth: int, deeper: int
) -> None:
    """Raises ValueError for fewer steps than a source's whose reversals would not be the same.

    Args:
        kind: Of the warm start.
        mix: Of both.
        order: Of both.
        depth: Steps of the student.
        deeper: Steps of the source.
    """
    if mix != "reverse" or depth == deeper:
        return
    if order is not None and kind in ("slice", "copy"):
        raise ValueError(
            f"expected the source's depth, {deeper}, with an order, which its first step alone "
            f"has; got {depth}: give the student the same depth, or begin with inherit"
        )
    if kind == "fold":
        raise ValueError(
            f"expected mix: linear, into which steps fold; got mix: reverse and depth {depth} "
            f"for {deeper}: give the student the same depth, or train a source with mix: linear"
        )
    sizes = [stop - start for start, stop in group_bounds(depth, deeper)]
    if kind == "inherit" and any(size % 2 == 0 for size in sizes):
        raise ValueError(
            f"expected mix: linear, or an odd number of the source's steps for each of the "
            f"student's, for an even number of reversals is none; got mix: reverse and depth "
            f"{depth} for {deeper}, grouped as {sizes}: choose another depth"
        )


def mix_of(step: int, size: int, mix: Mixing, order: Sequence[int] | None = None) -> LinearMap:
    """Returns the map before a step: a rotation to be learned, or the columns in another order.

    Args:
        step: Its number, from 0.
        size: D, the columns.
        mix: `linear`, or `reverse`: of the first step the given order, then the other way round.
        order: Of the first step; default the last column first.
    """
    if mix == "linear":
        return Invertible1x1(size)
    return Permute(list(reversed(range(size))) if step or order is None else order)


def _some(columns: Sequence[int]) -> str:
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return (", ".join(map(str, columns[:SHOWN])) or "none") + more
