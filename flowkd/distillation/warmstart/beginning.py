"""What a student begins as, judged by the data: a fold that is worse than a new flow is none."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from flowkd.distillation.warmstart.batching import by_rows, leading_rows
from flowkd.flows.flow import Flow

JUDGED_PLACES = 2**18  # of the calibration data: all rows of a table, 256 pictures of 32 x 32


class WorseThanNewError(ValueError):
    """A folded student of which the data are less likely than of the new flow that it was."""


@contextmanager
def better_than_new(
    student: Flow, source: Flow, x: Tensor, context: Tensor | None
) -> Iterator[None]:
    """Lets a student be set; makes it what it was where the data are less likely by that.

    Networks that are rebuilt nearly, one after the other, may end far off: least squares of what
    they say know nothing of what follows. The likelihood does. Of a source that is no better than
    a new flow itself, it tells nothing of the copy.

    Args:
        student: As new; is changed within.
        source: What it becomes a copy of.
        x: Calibration data, (B, *event_shape).
        context: Context of these, as the flow takes it; None for none.

    Raises:
        WorseThanNewError: Their mean log_prob is lower than before, or not finite, and that of the
            source is not.
    """
    judged = leading_rows(x, context, JUDGED_PLACES)
    new, before = copy.deepcopy(student.state_dict()), mean_log_prob(student, *judged)
    yield
    after = mean_log_prob(student, *judged)
    if after < before < mean_log_prob(source, *judged):
        student.load_state_dict(new)
        raise WorseThanNewError(
            f"expected a folded student that is better than a new one, whose mean log_prob of "
            f"{len(judged[0])} rows is {before:.2f} nats; got {after:.2f}: begin with none, or "
            f"fold less, to a student as deep as its source or one that is wider"
        )


def mean_log_prob(flow: Flow, x: Tensor, context: Tensor | None) -> float:
    """Returns the mean log-density of rows in nats; minus infinity where one of them has none."""
    total = sum(float(flow.log_prob(*part).double().sum()) for part in by_rows(x, context))
    return total / len(x) if math.isfinite(total) else -math.inf
