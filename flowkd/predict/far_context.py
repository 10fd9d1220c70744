"""Remarks on contexts that lie far outside of those seen in training."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from flowkd.data.facts import DataFacts

# A flow is asked for contexts a little beyond those of its train split, as of the rows of others:
# so much of the range on either side is not remarked.
MARGIN = 0.5
MOST = 10  # columns that are named


def far_context(context: Tensor | None, facts: DataFacts) -> tuple[str, ...]:
    """Returns a sentence for each column of a context that lies far outside of the training's.

    Far is more than half of the training's range below its least or above its largest value.

    Args:
        context: Vectors (N, c) in data units, classes, or None.
        facts: Of the data that the flow was trained on.
    """
    low, high = facts.context_minimum, facts.context_maximum
    if context is None or not context.is_floating_point() or low is None or high is None:
        return ()
    found = list(_remarks(context, low, high, facts.context_columns))
    more = [f"{len(found) - MOST} more such columns"] if len(found) > MOST else []
    return (*found[:MOST], *more)


def _remarks(
    context: Tensor, low: list[float], high: list[float], names: list[str] | None
) -> Iterator[str]:
    for number, (least, most) in enumerate(zip(low, high, strict=True)):
        margin = MARGIN * (most - least)
        values = context[:, number].double()
        far = (values < least - margin) | (values > most + margin)
        if not bool(far.any()):
            continue
        name = repr(names[number]) if names else f"value {number}"
        worst = values[far][(values[far] - (least + most) / 2).abs().argmax()].item()
        count = int(far.sum())
        rows = f"{count} examples" if count > 1 else "1 example"
        yield (
            f"context {name}: {worst:g} is far outside of {least:g} to {most:g}, where the model "
            f"was trained ({rows}): the answer is an extrapolation"
        )
