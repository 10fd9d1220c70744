"""The flow that a run trains where its config names none: by the kind and number of its data."""

from __future__ import annotations

from flowkd.data.manifest import Manifest
from flowkd.errors import ConfigError
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.coupling import CouplingConfig
from flowkd.training.picture_size import Budget, picture_size

# Hidden units of a table's flow, by the fewest training rows that they are for.
TABLE_WIDTHS = ((50_000, 256), (10_000, 128), (2_000, 64), (0, 32))
SMALLEST_SIDE = 2  # of what the last level of a Glow sees


def default_flow(manifest: Manifest, budget: Budget) -> tuple[AnyFlowConfig, str]:
    """Returns the config of a flow large enough for a data set, to be completed from it, and why.

    Args:
        manifest: Of the data set.
        budget: What its training may take, which bounds flows of pictures: those of tables are
            trained in minutes.

    Raises:
        ConfigError: Pictures whose sides cannot be halved.
    """
    shape, rows = tuple(manifest.event_shape), manifest.splits["train"].rows
    if len(shape) == 1:
        width = next(width for least, width in TABLE_WIDTHS if rows >= least)
        return CouplingConfig(depth=8 if width > 32 else 4, width=width), f"for {rows:,} rows"
    sides = shape[1:]
    levels = [
        level
        for level in (1, 2, 3)
        if all(side % 2**level == 0 and side // 2**level >= SMALLEST_SIDE for side in sides)
    ]
    if not levels:
        raise ConfigError(
            f"flow: expected one, for none is known for pictures of {sides[0]} x {sides[1]} of "
            f"data set {manifest.name!r}: import them in crops or sizes divisible by 2, 4 or 8"
        )
    flow, minutes = picture_size(shape, levels[-1], budget, 64 if max(sides) <= 16 else 128)
    if minutes is None:
        return flow, "the largest default"
    return flow, f"about {minutes:.0f} minutes of training here, of {budget.minutes:g} that it may"
