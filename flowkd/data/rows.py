"""Rows of a split: what training asks of them, and those that are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor


class Rows(Protocol):
    """The rows of a split, in pieces."""

    @property
    def sizes(self) -> Sequence[int]:
        """The number of rows of each piece."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of x."""
        ...

    @property
    def row_bytes(self) -> int:
        """What a row takes in memory."""
        ...

    def __len__(self) -> int: ...

    def read(self, number: int) -> Examples:
        """Returns the rows of a piece."""
        ...


@dataclass(frozen=True)
class Examples:
    """Rows of a split, in memory: a single piece, or as many as those that they stand for.

    Attributes:
        x: (N, *event), uint8 (integer bins) or float32 (continuous), in data units.
        context: None, (N,) int64 classes, or (N, c) float32 vectors.
        targets: What a teacher makes of each row, (N, ...) by name; none for data as stored.
        pieces: The number of rows of each piece; they are seen in the order of such pieces.
    """

    x: Tensor
    context: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    pieces: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def sizes(self) -> Sequence[int]:
        """The number of rows of each piece."""
        return self.pieces or (len(self),)

    @property
    def dtype(self) -> torch.dtype:
        """Of x."""
        return self.x.dtype

    @property
    def row_bytes(self) -> int:
        """What a row takes: nothing, as all rows are there."""
        return 0

    def read(self, number: int) -> Examples:
        """Returns the rows of a piece."""
        start = sum(self.sizes[:number])
        return self.part(start, start + self.sizes[number])

    def all(self) -> Examples:
        """Returns all rows."""
        return self

    def first(self, count: int) -> Examples:
        """Returns whole pieces from the first on, until they have so many rows or all."""
        return self.part(0, sum(self.sizes[: pieces_for(self.sizes, count)]))

    def without_context(self) -> Examples:
        """Returns the rows for a flow that is not conditioned."""
        return replace(self, context=None)

    def take(self, rows: Tensor) -> Examples:
        """Returns the rows of these numbers."""
        return self._each(lambda values: values.index_select(0, rows))

    def part(self, start: int, stop: int) -> Examples:
        """Returns rows side by side, of the same memory."""
        return self._each(lambda values: values[start:stop])

    def copy(self) -> Examples:
        """Returns the rows in memory of their own."""
        return self._each(Tensor.clone)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Examples:
        context = None if self.context is None else change(self.context)
        targets = {name: change(value) for name, value in self.targets.items()}
        return Examples(change(self.x), context, targets)


def pieces_for(sizes: Sequence[int], count: int) -> int:
    """Returns how many of the first pieces have so many rows, or the number of all."""
    return next((n for n in range(1, len(sizes)) if sum(sizes[:n]) >= count), len(sizes))


def pieces(rows: Rows | None) -> Iterator[Examples]:
    """Yields the rows piece by piece, so that not all need be in memory; nothing of none."""
    for number in range(len(rows.sizes) if rows is not None else 0):
        assert rows is not None
        yield rows.read(number)


def join_examples(parts: Sequence[Examples]) -> Examples:
    """Returns the rows of several, one after the other; their targets are of the same names."""
    if len(parts) == 1:
        return parts[0]
    contexts = [part.context for part in parts if part.context is not None]
    return Examples(
        torch.cat([part.x for part in parts]),
        torch.cat(contexts) if contexts else None,
        {name: torch.cat([part.targets[name] for part in parts]) for name in parts[0].targets},
    )
