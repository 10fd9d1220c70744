"""A table's columns, checked and made into what is stored of them, by what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from flowkd.bijectors.transforms import transformed
from flowkd.columns import ColumnStep, ColumnSteps, ColumnTransforms
from flowkd.data.checks.magnitudes import LARGEST, check_magnitudes, check_spread
from flowkd.data.checks.options import ColumnOptions, Remedies, drop_option
from flowkd.data.checks.remarks import remarks_on
from flowkd.data.manifest import LeftOut
from flowkd.data.seeds import derive_seed
from flowkd.data.steps import spread, step_widths
from flowkd.errors import DataError

# A value may be so much of a step beside the grid, as decimals are in binary.
OFF_GRID = 1e-3


@dataclass(frozen=True)
class PreparedColumns:
    """A table's columns as a data set has them; the fields are those of its manifest.

    Attributes:
        x: All rows (N, D), float32, in data units and without noise.
        columns: Names of the columns.
        steps: Steps of each column, None for one without.
        transforms: What each column goes through before it is standardised, None for nothing.
        mean: Mean of each column over the train rows, with noise and transformed.
        scale: Standard deviation of each of them.
        remarks: What makes the likelihood of a flow on them mean little.
    """

    x: np.ndarray
    columns: list[str]
    steps: ColumnSteps
    transforms: ColumnTransforms
    mean: list[float]
    scale: list[float]
    remarks: list[str]


def rows_with_values(
    x: np.ndarray, columns: Sequence[str], options: ColumnOptions, source: str
) -> tuple[np.ndarray, list[LeftOut]]:
    """Returns the indices of the rows in which no number stands for no value, and what is left out.

    Raises:
        DataError: Nothing is left, or a column has no such number.
    """
    kept, left_out = np.ones(len(x), bool), []
    for name, number in options.missing.items():
        has = x[:, columns.index(name)] == number
        if not has.any():
            raise DataError(
                f"missing.{name}: expected a number that column {name!r} of {source} has; got "
                f"{number:g}: correct it, or leave it out"
            )
        why = f"whose {name} is {number:g}, which stands for no value"
        left_out.append(LeftOut(what="rows", count=int((has & kept).sum()), why=why))
        kept &= ~has
    if not kept.any():
        raise DataError(f"missing: expected rows of {source} that have values; none is left")
    return np.flatnonzero(kept), left_out


def check_names(
    options: ColumnOptions, columns: Sequence[str], others: Sequence[str], source: str
) -> None:
    """Raises DataError where an option is of a column that there is not.

    Args:
        options: What is asked for.
        columns: Names of the columns of x.
        others: Names of other columns, such as the context's, which have units.
        source: What the message calls the table.
    """
    for key in ("missing", "dequantize", "transforms", "units"):
        known = [*columns, *others] if key == "units" else columns
        for name in getattr(options, key):
            if name not in known:
                raise DataError(
                    f"{key}: expected columns of x in {source}, some of {', '.join(known)}; got "
                    f"{name!r}"
                )


def prepare_columns(
    x: np.ndarray,
    columns: Sequence[str],
    train: np.ndarray,
    options: ColumnOptions,
    source: str,
    *,
    constant: Literal["refuse", "drop"] = "refuse",
    row_numbers: np.ndarray | None = None,
    seed: int = 0,
) -> PreparedColumns:
    """Checks columns and returns what is stored of them.

    Args:
        x: All rows (N, D), finite, in float64.
        columns: Names of the columns.
        train: Indices of the train rows.
        options: What is done with the columns.
        source: What messages call the table.
        constant: Whether columns that are constant over the train rows are refused or dropped.
        row_numbers: Where each row is in the source, from 0; default as here.
        seed: Seed of the noise with which mean and scale are computed.

    Raises:
        DataError: Columns that are constant, whose values float32 cannot hold, or that are not
            what an option says of them.
    """
    varied = _varied(x[train], columns, constant, options, source)
    dropped = [name for name in columns if name not in varied]
    x, columns = x[:, [list(columns).index(name) for name in varied]], varied
    transforms = [options.transforms.get(name) for name in columns]
    steps = [_step(x[:, n], name, options, source) for n, name in enumerate(columns)]
    check_magnitudes(x, columns, transforms, source, row_numbers)
    _check_support(x, columns, transforms, steps, source, row_numbers)
    check_spread(x[train], columns, transforms, source, Remedies(options))
    stored = x.astype(np.float32)
    noisy = with_noise(stored[train], steps, seed)
    mapped = transformed(torch.from_numpy(noisy).double(), transforms).numpy()
    return PreparedColumns(
        x=stored,
        columns=varied,
        steps=steps,
        transforms=transforms,
        mean=mapped.mean(axis=0).tolist(),
        scale=mapped.std(axis=0).tolist(),
        remarks=remarks_on(
            x[train],
            columns,
            dropped,
            remedies=Remedies(options),
            transforms=transforms,
            learned=(noisy, mapped),
        ),
    )


def with_noise(x: np.ndarray, steps: ColumnSteps, seed: int) -> np.ndarray:
    """Returns float32 rows (N, D) with noise in the columns of steps, the same for a seed."""
    widths = step_widths(steps)
    if widths is None:
        return x
    generator = torch.Generator().manual_seed(derive_seed(seed, "statistics"))
    return spread(torch.from_numpy(x), widths, torch.rand(x.shape, generator=generator)).numpy()


def _varied(
    train: np.ndarray,
    columns: Sequence[str],
    constant: Literal["refuse", "drop"],
    options: ColumnOptions,
    source: str,
) -> list[str]:
    """Returns the columns that are not constant over the train split."""
    varied = [name for name, column in zip(columns, train.T, strict=True) if np.ptp(column) > 0]
    if not varied or (len(varied) < len(columns) and constant == "refuse"):
        fixed = [name for name in columns if name not in varied]
        most = float(np.abs(train).max(initial=0.0, where=np.ptp(train, axis=0) == 0))
        step = np.spacing(np.float32(min(most, LARGEST)))
        equal = (
            ""
            if step <= 1
            else f" (float32 makes numbers of {most:g} equal that differ by less than {step:g})"
        )
        raise DataError(
            f"{source} has columns that are constant over the train split, so that their "
            f"density is infinite: {', '.join(fixed)}{equal}; choose others by `columns`"
            + (
                ""
                if not varied
                else f", or leave them out by `constant: drop`, or {drop_option(options, *fixed)}"
            )
        )
    return varied


def _step(column: np.ndarray, name: str, options: ColumnOptions, source: str) -> ColumnStep | None:
    """Returns the steps of a column, once its values are found to lie on their grid."""
    if name not in options.dequantize:
        return None
    width = options.dequantize[name]
    finest = 64 * float(np.spacing(np.float32(np.abs(column).max())))
    if width < finest:
        raise DataError(
            f"dequantize.{name}: expected steps of at least {finest:g}, which float32 resolves "
            f"beside the largest value of the column in {source}; got {width:g}: subtract an "
            f"offset from the column, or leave it out, by {drop_option(options, name)}"
        )
    start = float(column.min())
    places = (column - start) / width
    # float32 sources are off by their own rounding.
    allowed = OFF_GRID + np.abs(column).max() * 2.0**-23 / width
    off = np.flatnonzero(np.abs(places - np.rint(places)) > allowed)
    if len(off):
        raise DataError(
            f"dequantize.{name}: expected values of {source} whole steps of {width:g} apart; got "
            f"{start:g} and {column[off[0]]:g}; {len(off)} such rows: give the width of the steps "
            f"that there are"
        )
    return ColumnStep(width=width, origin=start - np.rint(start / width) * width)


def _check_support(
    x: np.ndarray,
    columns: Sequence[str],
    transforms: ColumnTransforms,
    steps: ColumnSteps,
    source: str,
    row_numbers: np.ndarray | None,
) -> None:
    """Raises DataError for values, noise included, that a transform does not take."""
    for name, column, transform, step in zip(columns, x.T, transforms, steps, strict=True):
        if transform is None:
            continue
        # Noise is strictly between a value and the next: the value itself may be the lower bound.
        column = column.astype(np.float32).astype(np.float64)
        if step is None:
            outside = (column <= transform.low) | (column >= transform.high)
        else:
            outside = (column < transform.low) | (column + step.width > transform.high)
        bad = np.flatnonzero(outside)
        if len(bad):
            row = int(bad[0] if row_numbers is None else row_numbers[bad[0]])
            noise = "" if step is None else f", with noise of {step.width:g} on it"
            raise DataError(
                f"{source}, row {row + 1} (from 1, without a header), column {name!r}: expected "
                f"a value above {transform.low:g} and below {transform.high:g} for "
                f"transforms.{name}, {transform.kind}{noise}; got {column[bad[0]]:g}; {len(bad)} "
                f"such rows: correct them, or leave the transform out"
            )
