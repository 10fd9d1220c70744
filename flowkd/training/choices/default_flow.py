"""The flow that a run trains where its config names none: by the kind and number of its data."""

from __future__ import annotations

from typing import Literal, NamedTuple

from flowkd.data.manifest import Manifest
from flowkd.errors import ConfigError
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.coupling import CouplingConfig
from flowkd.training.choices.picture_size import LEAST_STEPS, Budget, picture_size

Family = Literal["spline", "coupling", "autoregressive", "glow"]

SMALLEST_SIDE = 2  # of what the last level of a Glow sees


class Size(NamedTuple):
    """Size of a table's flow, for at least so many training rows."""

    rows: int
    depth: int
    width: int


# Of tables, by family: the largest first, and small for few rows, which are soon learnt by heart.
SIZES: dict[str, tuple[Size, ...]] = {
    "spline": (Size(50_000, 8, 192), Size(10_000, 8, 96), Size(2_000, 8, 48), Size(0, 4, 24)),
    "coupling": (Size(50_000, 8, 256), Size(10_000, 8, 128), Size(2_000, 8, 64), Size(0, 4, 32)),
    "autoregressive": (
        Size(50_000, 5, 256),
        Size(10_000, 5, 128),
        Size(2_000, 5, 64),
        Size(0, 3, 32),
    ),
}
# What a family is, for whoever chooses one.
ABOUT: dict[str, str] = {
    "spline": "spline couplings: log_prob and samples take one pass each",
    "coupling": "affine couplings: the fastest, log_prob and samples take one pass each",
    "autoregressive": "masked autoregressive splines: log_prob takes one pass, and samples one for "
    "each column; best in the literature's tables, after long trainings",
    "glow": "Glow, for pictures: log_prob and samples take one pass each",
}
# In the same seconds of one thread it is ahead of splines, whose steps take longer, large and at a
# quarter of that: docs/results/bench-defaults.md.
DEFAULT_OF_TABLES: Family = "coupling"


class DefaultFlow(NamedTuple):
    """A flow that was chosen.

    Attributes:
        flow: To be completed from the data set.
        why: In words.
        steps: The most that its training may take; None for no bound.
    """

    flow: AnyFlowConfig
    why: str
    steps: int | None = None


def default_flow(manifest: Manifest, budget: Budget, family: Family | None = None) -> DefaultFlow:
    """Returns a flow large enough for a data set.

    Args:
        manifest: Of the data set.
        budget: What its training may take, which bounds flows of pictures: those of tables are
            trained in minutes.
        family: Default the best that is known for the kind of the data.

    Raises:
        ConfigError: A family of other data, or pictures whose sides cannot be halved.
    """
    shape, rows = tuple(manifest.event_shape), manifest.splits["train"].rows
    _check_family(family, shape, manifest.name)
    if len(shape) == 1:
        return DefaultFlow(_of_table(family or DEFAULT_OF_TABLES, rows), f"for {rows:,} rows")
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
    flow, steps = picture_size(shape, levels[-1], budget, 64 if max(sides) <= 16 else 128)
    if steps is None:
        return DefaultFlow(flow, "the largest default")
    if steps == LEAST_STEPS:
        why = f"the fewest that it needs, for which {budget.minutes:g} minutes may not suffice here"
    else:
        why = f"about what {budget.minutes:g} minutes suffice for here"
    return DefaultFlow(flow, f"at most {steps:,} steps, {why}", steps)


def _of_table(family: Family, rows: int) -> AnyFlowConfig:
    size = next(size for size in SIZES[family] if rows >= size.rows)
    if family == "autoregressive":
        return AutoregressiveConfig(depth=size.depth, width=size.width)
    transform: Literal["affine", "spline"] = "spline" if family == "spline" else "affine"
    return CouplingConfig(depth=size.depth, width=size.width, transform=transform)


def _check_family(family: Family | None, shape: tuple[int, ...], dataset: str) -> None:
    of_tables = len(shape) == 1
    known = list(SIZES) if of_tables else ["glow"]
    if family is not None and family not in known:
        raise ConfigError(
            f"family: expected {' or '.join(known)} for {'a table' if of_tables else 'pictures'}, "
            f"data set {dataset!r}; got {family}"
        )
