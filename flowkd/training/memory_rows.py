"""Rows that somebody has in memory, checked, split, and as a training takes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowkd.bijectors.transforms import transformed
from flowkd.columns import ColumnTransforms
from flowkd.data.checks.magnitudes import check_magnitudes, check_spread
from flowkd.data.checks.options import Remedies
from flowkd.data.checks.remarks import remarks_on
from flowkd.data.rows import Examples
from flowkd.data.shuffle import seeded_generator
from flowkd.errors import DataError
from flowkd.flows.flow import Flow
from flowkd.foreign.adapters.base import Adapter
from flowkd.training.inputs import RunData

# A spread of fewer steps of the dtype than this is a staircase.
MIN_STEPS = 64
CHECKED_VALUES = 5_000_000  # of a table, for remarks: sorting them takes a second or two

Values = Tensor | np.ndarray
Validation = float | Values | tuple[Values, Values | None]


@dataclass(frozen=True)
class MemoryRows:
    """Rows to train on and rows to be judged on.

    Attributes:
        train: Rows to learn from.
        validation: Rows that choose the best weights.
        bins: Number of integer values of x; None if x is continuous.
        exact: The first rows to train on as they were given, (N, D); None for what is no table.
    """

    train: Examples
    validation: Examples
    bins: int | None
    exact: Tensor | None = None

    @classmethod
    def of(
        cls,
        flow: Flow | Adapter,
        x: Values,
        context: Values | None,
        validation: Validation,
        bins: int | None,
        seed: int,
    ) -> MemoryRows:
        """Returns checked rows for a flow; raises DataError for what is not its data."""
        rows, bins = _examples(flow, x, context, bins, "x")
        if isinstance(validation, float | int):
            order = torch.randperm(len(rows), generator=seeded_generator(seed, "validation"))
            count = round(validation * len(rows))
            if not 0 < count < len(rows):
                raise DataError(
                    f"expected a share of {len(rows)} rows for validation that leaves some on both "
                    f"sides; got {validation}: change it, or give validation rows"
                )
            train = rows.select(order[count:])
            exact = _exact(x, bins, order[count:])
            return cls(train, rows.select(order[:count]), bins, exact)
        judged = validation if isinstance(validation, tuple) else (validation, None)
        return cls(rows, _examples(flow, *judged, bins, "validation")[0], bins, _exact(x, bins))

    def statistics(
        self, transforms: ColumnTransforms | None = None
    ) -> dict[str, float | tuple[float, ...]]:
        """Returns mean and scale of the rows to train on, or of their bins, and of the context.

        Args:
            transforms: What each column goes through before; default nothing.

        Raises:
            DataError: A channel, or a value of the context vectors, that is constant, or a value
                that its column's transform does not take.
        """
        found: dict[str, float | tuple[float, ...]] = {}
        if self.bins is not None:
            found |= {"mean": self.bins / 2, "scale": float(self.bins)}
        else:
            values = self.train.x
            if transforms is not None:
                values = _transformed(values.double(), transforms)
            found["mean"], found["scale"] = _mean_and_scale(values, "values")
        context = self.train.context
        if context is not None and context.is_floating_point():
            mean, scale = _mean_and_scale(context, "context vectors")
            _check_resolved(context, scale)
            found["context_mean"], found["context_scale"] = mean, scale
        return found

    def remarks(
        self, transforms: ColumnTransforms | None = None, names: Sequence[str] | None = None
    ) -> list[str]:
        """Returns what makes the density of a table's columns mean little, a sentence each.

        Args:
            transforms: What each column goes through before; default nothing.
            names: Names of the columns; default x0, x1, ...

        Raises:
            DataError: Values whose squares float32 does not hold, or that it makes nearly equal.
        """
        if self.exact is None:
            return []
        exact = self.exact.numpy()
        width = exact.shape[1]
        columns = list(names or [f"x{number}" for number in range(width)])
        each = list(transforms or [None] * width)
        remedies = Remedies(told="words")
        check_magnitudes(exact, columns, each, "x")
        check_spread(exact, columns, each, "x", remedies)
        learned = exact.astype(np.float32)
        mapped = transformed(torch.from_numpy(learned).double(), each).numpy()
        return remarks_on(
            exact, columns, (), remedies=remedies, transforms=each, learned=(learned, mapped)
        )

    def describe(self, flow: Flow) -> None:
        """Notes on a flow what its user should know of the rows that it was trained on."""
        flow.bins, context = self.bins, self.train.context
        if context is not None and context.is_floating_point():
            least, most = context.double().aminmax(dim=0)
            flow.context_range = tuple(least.tolist()), tuple(most.tolist())

    def data(self, teacher: Flow | Adapter | None, *, source: bool = False) -> RunData:
        """Returns what a run reads; of a teacher it takes a copy, for objectives freeze theirs."""
        theirs = None if teacher is None else copy.deepcopy(teacher)
        return RunData(
            self.train,
            self.validation,
            self.bins,
            theirs,
            theirs if source and isinstance(theirs, Flow) else None,
        )


def _exact(x: Values, bins: int | None, order: Tensor | None = None) -> Tensor | None:
    """Returns the first rows of a table in float64, as many as are looked at for remarks."""
    values = torch.as_tensor(x)
    if bins is not None or values.dim() != 2:
        return None
    count = max(1000, CHECKED_VALUES // values.shape[1])
    chosen = values[:count] if order is None else values[order[:count].to(values.device)]
    return chosen.detach().double().cpu()


def _examples(
    flow: Flow | Adapter, x: Values, context: Values | None, bins: int | None, name: str
) -> tuple[Examples, int | None]:
    values = torch.as_tensor(x)
    if values.dtype == torch.uint8:
        bins = bins or 256
    elif values.is_floating_point() and bins is None:
        values = values.float()
    else:
        wanted = "uint8 for bins" if bins is not None else "floats, or uint8 for pixels"
        raise DataError(f"expected {name} of {wanted}; got {values.dtype}: convert it")
    if values.shape[1:] != flow.event_shape or not len(values):
        raise DataError(
            f"expected {name} of shape (N, {', '.join(map(str, flow.event_shape))}) with rows; got "
            f"{tuple(values.shape)}"
        )
    if values.is_floating_point() and not bool(values.isfinite().all()):
        bad = int((~values.isfinite()).flatten(1).any(1).sum())
        raise DataError(f"expected finite {name}; got NaN or infinity in {bad} rows: drop or fill")
    return Examples(values, _context(flow, context, len(values), name)), bins


def _transformed(values: Tensor, transforms: ColumnTransforms | None) -> Tensor:
    for number, transform in enumerate(transforms or ()):
        if transform is None:
            continue
        column = values[:, number]
        outside = ((column <= transform.low) | (column >= transform.high)).nonzero().flatten()
        if len(outside):
            raise DataError(
                f"expected values above {transform.low:g} and below {transform.high:g} in column "
                f"{number}, for its {transform.kind}; got {column[outside[0]]:g}; {len(outside)} "
                f"such rows: leave them out, or the transform"
            )
    return transformed(values, transforms)


def _mean_and_scale(values: Tensor, what: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each channel of (N, C, *rest), in float64."""
    over = [0, *range(2, values.dim())]
    least, most = values.amin(over), values.amax(over)
    constant = (least == most).nonzero().flatten().tolist()
    if constant:
        raise DataError(
            f"expected {what} that vary in every column; got constant ones in {constant}: "
            f"leave these columns out"
        )
    exact = values.double()
    return tuple(exact.mean(over).tolist()), tuple(exact.std(over, unbiased=False).tolist())


def _check_resolved(context: Tensor, scale: Sequence[float]) -> None:
    """Raises DataError for vectors whose values their dtype can hardly tell apart."""
    steps = context.abs().amax(0).double() * torch.finfo(context.dtype).eps
    lost = (torch.tensor(scale, dtype=torch.float64) < MIN_STEPS * steps).nonzero().flatten()
    if len(lost):
        raise DataError(
            f"expected context vectors whose values {context.dtype} tells apart; got a spread of "
            f"{scale[int(lost[0])]:g} around {float(context[0, lost[0]]):g} in column "
            f"{int(lost[0])}: give them as float64, or subtract an offset"
        )


def _context(flow: Flow | Adapter, context: Values | None, count: int, name: str) -> Tensor | None:
    known = None if context is None else torch.as_tensor(context)
    if known is not None and not known.is_floating_point():
        # The flow says of vectors whether it takes any: whole numbers may be meant as one.
        known = known.double() if flow.context.size else known.long()
    if known is not None and known.is_floating_point() and not bool(known.isfinite().all()):
        raise DataError(f"expected a finite context of {name}; got NaN or infinity: drop or fill")
    dummy = torch.empty(count, 1)
    try:
        flow.encode_context(known, dummy)
    except ValueError as error:
        raise DataError(f"context of {name}: {error}") from error
    return known
