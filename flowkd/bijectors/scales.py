"""From a network's output to the log-scale of an affine map."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus


def softly_clipped(u: Tensor, bound: float) -> Tensor:
    """Returns u / (1 + |u| / bound), which lies within +-bound and is u for small u."""
    return u / (u.abs() / bound + 1)


class LogScale(ABC):
    """Gives log-scales s from a network's outputs u, value by value."""

    @abstractmethod
    def __call__(self, u: Tensor) -> Tensor:
        """Maps u to s, of the same shape."""


@dataclass(frozen=True)
class TanhScale(LogScale):
    """s = bound tanh(u / bound).

    Attributes:
        bound: The largest s, and minus the least.
    """

    bound: float = 2.0

    def __call__(self, u: Tensor) -> Tensor:
        """Maps u to s."""
        return self.bound * torch.tanh(u / self.bound)


@dataclass(frozen=True)
class ClippedScale(LogScale):
    """s = u / (1 + |u / log(least)|), as in zuko.

    Attributes:
        least: The least scale, exp(s), above 0 and below 1; the largest is 1 / least.
    """

    least: float = 1e-3

    def __call__(self, u: Tensor) -> Tensor:
        """Maps u to s."""
        return softly_clipped(u, -math.log(self.least))


@dataclass(frozen=True)
class ExpScale(LogScale):
    """s = u, not bounded, as in the first RealNVP and in normflows."""

    def __call__(self, u: Tensor) -> Tensor:
        """Returns u."""
        return u


@dataclass(frozen=True)
class SoftplusScale(LogScale):
    """s = log(least + log(1 + exp(u))), as in the autoregressive flows of nflows.

    Attributes:
        least: The least scale.
    """

    least: float = 1e-3

    def __call__(self, u: Tensor) -> Tensor:
        """Maps u to s."""
        return (softplus(u) + self.least).log()


@dataclass(frozen=True)
class SigmoidScale(LogScale):
    """s = log(least + sigmoid(u + shift)), as in couplings of nflows and of normflows.

    Attributes:
        shift: Added before the sigmoid.
        least: Added after it; 0 in normflows.
        over: Whether it is -s instead, as in normflows' `sigmoid`, which divides.
    """

    shift: float = 2.0
    least: float = 1e-3
    over: bool = False

    def __call__(self, u: Tensor) -> Tensor:
        """Maps u to s."""
        if self.least:
            log_scale = (torch.sigmoid(u + self.shift) + self.least).log()
        else:
            log_scale = logsigmoid(u + self.shift)
        return -log_scale if self.over else log_scale
