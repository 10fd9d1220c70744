"""Volume-preserving rearrangements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from flowkd.bijectors.base import Bijector, Shape
from flowkd.bijectors.linear import LinearMap


class Permute(LinearMap):
    """Reorders the channels: z[:, i] = x[:, order[i]].

    Args:
        order: A permutation of 0..C-1.

    Raises:
        ValueError: What is given is not a permutation.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        index = torch.as_tensor(order, dtype=torch.int64)
        if sorted(index.tolist()) != list(range(len(index))):
            raise ValueError(f"expected a permutation of 0..{len(index) - 1}; got {list(order)}")
        self.register_buffer("order", index)
        self.register_buffer("back", torch.argsort(index))
        self._reverses = self._is_reversal()

    def _is_reversal(self) -> bool:
        return bool((self.order.diff() == -1).all())

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._reverses = self._is_reversal()

    def reorder(self, x: Tensor) -> Tensor:
        """Returns x, (B, C, *rest), in the new order; a reversal takes half of another's time."""
        return x.flip(1) if self._reverses else x.index_select(1, self.order)

    def restore(self, z: Tensor) -> Tensor:
        """Returns z, (B, C, *rest), in the order before."""
        return z.flip(1) if self._reverses else z.index_select(1, self.back)

    def weight(self) -> Tensor:
        """Returns the permutation matrix, (C, C)."""
        return torch.eye(len(self.order), device=self.order.device)[self.order]

    def absorb(self, matrix: Tensor) -> Tensor:
        """Leaves the positive scales of a matrix that is this permutation but for those."""
        back = self.back.to(matrix.device)
        scales = matrix[back, torch.arange(len(back), device=matrix.device)]
        if not bool((scales > 0).all()) or len(matrix.nonzero()) != len(back):
            raise ValueError("expected this very permutation with positive scales; got another map")
        return scales.log()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reorders."""
        return self.reorder(x), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restores the order."""
        return self.restore(z), z.new_zeros(z.shape[0])


class Squeeze(Bijector):
    """Trades space for channels: (C, H, W) -> (4 C, H/2, W/2).

    Channel c becomes channels 4c..4c+3, so that leading channels stay leading.
    Source: RealNVP, 2017, https://arxiv.org/abs/1605.08803, section 3.6.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Moves each 2x2 block into channels."""
        return pixel_unshuffle(x, 2), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Moves channels back into 2x2 blocks."""
        return pixel_shuffle(z, 2), z.new_zeros(z.shape[0])

    def output_shape(self, shape: Shape) -> Shape:
        """Returns (4 C, H/2, W/2); raises ValueError for an odd height or width."""
        channels, height, width = shape
        if height % 2 or width % 2:
            raise ValueError(f"expected an even height and width to squeeze; got {shape}")
        return channels * 4, height // 2, width // 2
