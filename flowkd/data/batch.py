"""Batches: what one step of training or evaluation sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """The rows that one step of training or evaluation sees.

    Attributes:
        x: (B, *event) float32, in data units; integer bins are dequantised.
        context: None, (B,) int64 classes, or (B, c) float32 vectors.
        z: None, or (b, D) float32 standard normal latents, for the first b rows.
        samples: Number of rows, the last ones, that were drawn from a teacher; default 0.
        targets: A teacher's outputs for each row, (B, ...) by name, where they are cached.
    """

    x: Tensor
    context: Tensor | None = None
    z: Tensor | None = None
    samples: int = 0
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str) -> Batch:
        """Returns the batch on a device."""
        context, z = (t if t is None else moved(t, device) for t in (self.context, self.z))
        targets = {name: moved(value, device) for name, value in self.targets.items()}
        return Batch(moved(self.x, device), context, z, self.samples, targets)

    def split(self, parts: int) -> list[Batch]:
        """Returns equal parts of it, each with its share of data, samples and latents.

        Raises:
            ValueError: Rows that do not part evenly.
        """
        latents = 0 if self.z is None else len(self.z)
        data = len(self) - self.samples
        for name, rows in (("data", data), ("samples", self.samples), ("latents", latents)):
            if rows % parts:
                raise ValueError(
                    f"train.accumulate: expected a number that divides each worker's {rows} rows "
                    f"of {name} in a batch; got {parts}"
                )
        return [self._part(number, parts) for number in range(parts)]

    def _part(self, number: int, parts: int) -> Batch:
        data = len(self) - self.samples

        def share(values: Tensor) -> Tensor:
            pieces = (values[:data], values[data:])
            return torch.cat([piece.tensor_split(parts)[number] for piece in pieces])

        return Batch(
            share(self.x),
            None if self.context is None else share(self.context),
            None if self.z is None else self.z.tensor_split(parts)[number],
            self.samples // parts,
            {name: share(values) for name, values in self.targets.items()},
        )


def moved(values: Tensor, device: torch.device | str) -> Tensor:
    """Returns values on a device; to a GPU they are copied while this process goes on."""
    if torch.device(device).type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def append_samples(data: Batch | None, drawn: Batch) -> Batch:
    """Returns rows of data followed by a teacher's samples, on the device of the samples."""
    if data is None:
        return replace(drawn, samples=len(drawn))
    data = data.to(drawn.x.device)
    context = None
    if data.context is not None and drawn.context is not None:
        context = torch.cat([data.context, drawn.context])
    known = data.targets.keys() & drawn.targets.keys()
    targets = {name: torch.cat([data.targets[name], drawn.targets[name]]) for name in known}
    return Batch(torch.cat([data.x, drawn.x]), context, data.z, len(drawn), targets)


class BatchSource(Protocol):
    """Gives the batch of any step, a pure function of the step's number."""

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, counted from 0."""
        ...
