"""Columns of measured steps: a table's counts, and numbers of a few decimals."""

from __future__ import annotations

import torch
from torch import Tensor

from flowkd.columns import ColumnSteps


def step_widths(steps: ColumnSteps | None) -> Tensor | None:
    """Returns the widths (D,) of the columns' steps, 0 for a column without; None for none at all.

    Examples:
        >>> from flowkd.columns import ColumnStep
        >>> step_widths([ColumnStep(width=0.5), None])
        tensor([0.5000, 0.0000])
    """
    if steps is None or not any(steps):
        return None
    return torch.tensor([0.0 if step is None else step.width for step in steps])


def to_grid(x: Tensor, steps: ColumnSteps | None) -> Tensor:
    """Returns rows (N, D) with the columns of steps at the value that stands for them.

    Examples:
        >>> from flowkd.columns import ColumnStep
        >>> to_grid(torch.tensor([[2.7, 2.7]]), [ColumnStep(width=0.5), None])
        tensor([[2.5000, 2.7000]])
        >>> to_grid(torch.tensor([[0.35]]), [ColumnStep(width=0.1, origin=0.05)])
        tensor([[0.3500]])
    """
    widths = step_widths(steps)
    if widths is None or steps is None:
        return x
    exact = torch.tensor([step.width if step else 1.0 for step in steps], dtype=torch.float64)
    origin = torch.tensor([step.origin if step else 0.0 for step in steps], dtype=torch.float64)
    given = x.double().cpu()
    # A value on the grid may lie below it by its rounding in float32.
    places = (given - origin) / exact + given.abs() * 2.0**-23 / exact
    floors = places.floor() * exact + origin
    return torch.where(widths > 0, floors.to(x.dtype), x.cpu()).to(x.device)


def spread(x: Tensor, widths: Tensor, noise: Tensor) -> Tensor:
    """Returns x + noise * widths, float32, strictly between x and the next step.

    Args:
        x: Values on the grid, (N, D).
        widths: Width of each column's steps, (D,); where it is 0, x stays as it is.
        noise: Uniform on [0, 1), (N, D).

    Examples:
        >>> spread(torch.tensor([[3.0, 3.0]]), torch.tensor([1.0, 0.0]), torch.tensor([[0.5, 0.5]]))
        tensor([[3.5000, 3.0000]])
    """
    ends = x + widths
    inside = torch.clamp(x + noise * widths, torch.nextafter(x, ends), torch.nextafter(ends, x))
    return torch.where(widths > 0, inside, x)
