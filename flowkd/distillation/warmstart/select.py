"""Which hidden units stay, and how the others are made of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

RIDGE = 1e-6
SHRINKAGE = 1e-4

Selection = tuple[Tensor, Tensor]
Select = Callable[[Tensor, Tensor, int], Selection]


def most_telling(products: Tensor, read: Tensor, count: int) -> Selection:
    """Selects the units that best rebuild what is read from all of them, and rebuilds them.

    One unit at a time, the one that takes away most of the error that is left: O((H + R) H count).
    Source: orthogonal matching pursuit with several targets; Tropp, Gilbert, Strauss, Algorithms
    for simultaneous sparse approximation I, 2006, https://doi.org/10.1016/j.sigpro.2005.05.030.
    """
    scale = products.diagonal().mean()
    # Where all units are silent, nothing can be rebuilt, and any of them may stay.
    ridge = (scale if scale > 0 else 1.0) * torch.eye(len(products)).to(products)
    residual, targets = products + RIDGE * ridge, products @ read.T
    chosen: list[int] = []
    for _ in range(count):
        gain = targets.square().sum(1) / residual.diagonal().clamp_min(1e-12)
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        column, row = residual[:, best].clone(), targets[best].clone()
        pivot = residual[best, best].clamp_min(1e-12)
        residual.addr_(column, column / pivot, alpha=-1)
        targets.addr_(column, row / pivot, alpha=-1)
    keep = torch.tensor(sorted(chosen), device=products.device)
    # Where calibration data are few, less shrinkage ends in a student that is far off.
    inner = products[keep][:, keep] + SHRINKAGE * ridge[keep][:, keep]
    rebuild = torch.linalg.solve(inner, products[keep]).T
    rebuild[keep] = torch.eye(count).to(rebuild)
    return keep, rebuild


def largest(products: Tensor, read: Tensor, count: int) -> Selection:
    """Selects the units whose contributions have the largest norm; the others become zero."""
    norm = products.diagonal() * read.square().sum(0)
    keep = norm.topk(count).indices.sort().values
    rebuild = torch.zeros(len(products), count).to(products)
    rebuild[keep] = torch.eye(count).to(products)
    return keep, rebuild
