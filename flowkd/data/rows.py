"""The rows of a split, in shards: the protocol, and rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor


class Rows(Protocol):
    """The rows of a split, in shards, in memory or elsewhere."""

    @property
    def shard_sizes(self) -> Sequence[int]:
        """The number of rows of each shard."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of x."""
        ...

    @property
    def row_bytes(self) -> int:
        """Bytes of memory that a row takes once it is read."""
        ...

    @property
    def steps(self) -> Tensor | None:
        """Widths of the columns' steps (D,), for which noise is added; 0 and None for none."""
        ...

    def __len__(self) -> int: ...

    def read_shard(self, number: int) -> Examples:
        """Returns the rows of a shard."""
        ...


@dataclass(frozen=True)
class Examples:
    """Rows of a split in memory, as tensors: one shard, unless `sharding` says otherwise.

    Attributes:
        x: (N, *event), uint8 (integer bins) or float32 (continuous), in data units.
        context: None, (N,) int64 classes, or (N, c) float32 vectors.
        targets: A teacher's outputs for each row, (N, ...) by name; default none.
        sharding: Rows of each shard, so that batches are those of the same rows in a store;
            default a single shard.
        steps: Width of each column's steps, (D,), 0 for none: noise is added to x when batches are
            made of the rows; default none, or noise that is there already.
        group: (N,) int64, equal for rows that belong together, such as crops of one picture;
            default None: each row is one of its own. Training takes no notice of it.
    """

    x: Tensor
    context: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    sharding: Sequence[int] | None = None
    steps: Tensor | None = None
    group: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shard_sizes(self) -> Sequence[int]:
        """The number of rows of each shard."""
        return self.sharding or (len(self),)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of x."""
        return self.x.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of memory that a row takes once it is read: 0, as all rows are there."""
        return 0

    def read_shard(self, number: int) -> Examples:
        """Returns the rows of a shard."""
        start = sum(self.shard_sizes[:number])
        return self.slice(start, start + self.shard_sizes[number])

    def read_all(self) -> Examples:
        """Returns all rows."""
        return self

    def read_at_least(self, count: int) -> Examples:
        """Returns the first shards that together have `count` rows, or all if there are fewer."""
        return self.slice(0, sum(self.shard_sizes[: count_shards(self.shard_sizes, count)]))

    def without_context(self) -> Examples:
        """Returns the rows without context, for a flow that is not conditioned."""
        return replace(self, context=None)

    def select(self, indices: Tensor) -> Examples:
        """Returns a copy of the rows at these indices."""
        return self._each(lambda values: values.index_select(0, indices))

    def slice(self, start: int, stop: int) -> Examples:
        """Returns a view of rows start to stop - 1."""
        return self._each(lambda values: values[start:stop])

    def clone(self) -> Examples:
        """Returns a copy in memory of its own."""
        return self._each(Tensor.clone)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Examples:
        context = None if self.context is None else change(self.context)
        targets = {name: change(value) for name, value in self.targets.items()}
        group = None if self.group is None else change(self.group)
        return Examples(change(self.x), context, targets, steps=self.steps, group=group)


def count_shards(sizes: Sequence[int], count: int) -> int:
    """Returns how many of the first shards together have `count` rows, or the number of all."""
    return next((n for n in range(1, len(sizes)) if sum(sizes[:n]) >= count), len(sizes))


def iter_shards(rows: Rows | None) -> Iterator[Examples]:
    """Yields the rows shard by shard, so that not all need be in memory; None has no shards."""
    for number in range(len(rows.shard_sizes) if rows is not None else 0):
        assert rows is not None
        yield rows.read_shard(number)


def concat_examples(parts: Sequence[Examples]) -> Examples:
    """Returns the rows of several, one after the other.

    All must have targets of the same names. Groups are kept if all have them.
    """
    if len(parts) == 1:
        return parts[0]
    contexts = [part.context for part in parts if part.context is not None]
    groups = [part.group for part in parts if part.group is not None]
    return Examples(
        torch.cat([part.x for part in parts]),
        torch.cat(contexts) if contexts else None,
        {name: torch.cat([part.targets[name] for part in parts]) for name in parts[0].targets},
        steps=parts[0].steps,
        group=torch.cat(groups) if len(groups) == len(parts) else None,
    )
