"""Calibration data some rows at a time: hidden activations must not fill the memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowkd.bijectors import Bijector

PLACES_AT_ONCE = 4096


def places(h: Tensor) -> int:
    """Returns how many places each channel of a row has: 1 for tables, H W for images."""
    return h[0, 0].numel()


def leading_rows(h: Tensor, context: Tensor | None, limit: int) -> tuple[Tensor, Tensor | None]:
    """Returns the first rows of a state and of its context, with about `limit` places in all."""
    rows = max(1, limit // places(h))
    return h[:rows], None if context is None else context[:rows]


def by_rows(h: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yields a state and its context in parts of rows."""
    rows = max(1, PLACES_AT_ONCE // places(h))
    for start in range(0, len(h), rows):
        part = slice(start, start + rows)
        yield h[part], None if context is None else context[part]


def forward_by_rows(bijector: Bijector, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Maps forward, as the bijector does, in parts of rows."""
    parts = [bijector(*part) for part in by_rows(h, context)]
    return torch.cat([z for z, _ in parts]), torch.cat([log_det for _, log_det in parts])


def flat(h: Tensor) -> Tensor:
    """Returns (B, C, *rest) as (B * places, C)."""
    return h.movedim(1, -1).reshape(-1, h.shape[1])
