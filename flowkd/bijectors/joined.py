"""ActNorm and the linear map after it as one map of the channels, for many steps at once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flowkd.bijectors.elementwise import ActNorm
from flowkd.bijectors.linear import Invertible1x1


class Pair(NamedTuple):
    """What is applied as one map: z = W (x + bias) exp(log_scale)."""

    norm: ActNorm
    mix: Invertible1x1


class ChannelMap(NamedTuple):
    """z = W x + b over the channels of each place.

    Attributes:
        weight: W, (C, C).
        bias: b, (C,).
        log_det: log|det W|, a scalar: that of one place.
    """

    weight: Tensor
    bias: Tensor
    log_det: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Maps x, (B, C, *rest)."""
        if x.dim() == 2:
            return torch.addmm(self.bias, x, self.weight.T)
        weight = self.weight.expand(x.shape[0], -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).view(x.shape)


def channel_maps(pairs: Sequence[Pair]) -> list[ChannelMap]:
    """Returns the map of each pair.

    Those of the same size are computed together: with one row in a batch, the many operations on
    small matrices would take as long as the networks.
    """
    of_size: dict[int, list[int]] = defaultdict(list)
    for place, pair in enumerate(pairs):
        of_size[len(pair.norm.bias)].append(place)
    maps: dict[int, ChannelMap] = {}
    for places in of_size.values():
        maps |= zip(places, _together([pairs[place] for place in places]), strict=True)
    return [maps[place] for place in range(len(pairs))]


def _together(pairs: Sequence[Pair]) -> list[ChannelMap]:
    norms, mixes = zip(*pairs, strict=True)
    log_scale = torch.stack([norm.log_scale for norm in norms])
    log_diagonal = torch.stack([mix.log_diagonal for mix in mixes])
    diagonal = torch.stack([mix.sign for mix in mixes]) * log_diagonal.exp()
    lower = torch.stack([mix.lower for mix in mixes]).tril(-1)
    upper = torch.stack([mix.upper for mix in mixes]).triu(1) + torch.diag_embed(diagonal)
    rows = torch.stack([mix.permutation for mix in mixes])[:, :, None].expand_as(lower)
    product = torch.baddbmm(upper, lower, upper).gather(1, rows)
    weight = product * log_scale.exp()[:, None]
    bias = weight @ torch.stack([norm.bias for norm in norms])[:, :, None]
    log_det = (log_scale + log_diagonal).sum(1)
    parts = zip(weight.unbind(), bias.squeeze(2).unbind(), log_det.unbind(), strict=True)
    return [ChannelMap(*each) for each in parts]


class LogDet:
    """The log-determinants of bijectors in turn, which are added up once.

    Args:
        like: What the first is given, (B, *event).
        inverse: Whether they are undone.
    """

    def __init__(self, like: Tensor, *, inverse: bool = False) -> None:
        self._inverse = inverse
        self._rows: list[Tensor] = []
        self._scales: list[Tensor] = []
        self._constants: dict[int, list[Tensor]] = defaultdict(list)
        self._like = like

    def add(self, log_det: Tensor) -> None:
        """Adds one of each row, (B,)."""
        self._rows.append(log_det[None])

    def add_steps(self, log_dets: Tensor, norms: Iterable[ActNorm]) -> None:
        """Adds those of several steps, (steps, B), and of the norms before them.

        All are added up at once, in the end, so that the sum is the same to the last bit however
        the steps are put together.
        """
        self._rows.append(log_dets)
        self._scales += [norm.log_scale for norm in norms]

    def add_map(self, used: ChannelMap, made: Tensor) -> None:
        """Adds that of a map which has made a value, the same for all rows."""
        self._constants[math.prod(made.shape[2:])].append(used.log_det)

    def value(self) -> Tensor:
        """Returns the sum so far, (B,)."""
        total = torch.cat(self._rows).sum(0) if self._rows else None
        for places, constants in self._constants.items():
            constant = torch.stack(constants).sum() * places
            total = constant.expand(self._like.shape[0]) if total is None else total + constant
        if self._scales:
            constant = torch.cat(self._scales).sum()
            constant = -constant if self._inverse else constant
            total = constant.expand(self._like.shape[0]) if total is None else total + constant
        return self._like.new_zeros(self._like.shape[0]) if total is None else total
