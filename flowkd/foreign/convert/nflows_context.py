"""The context of a flow of nflows: what it is given, and what its networks see of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.foreign.adapters.nflows import context_of
from flowkd.foreign.convert.parts import Part, Weights, refuse


def by_vectors(
    flow: Any, shape: tuple[int, ...], parts: Sequence[Part], seen: int
) -> tuple[list[Part], int]:
    """Returns the parts of a flow for the vectors that it is given, and the size of these.

    Args:
        flow: In float64.
        shape: Of one example.
        parts: For contexts as networks see them.
        seen: Size of those; over pictures, how many channels; 0 for none.

    Raises:
        ConversionError: An `embedding_net`, or, over pictures, none that puts a vector at every
            place alike.
    """
    embedding, pictures = flow._embedding_net, len(shape) > 1
    if isinstance(embedding, nn.Identity):
        if pictures and seen:
            why = (
                "expected one that puts a vector at every place, for networks over pictures: "
                "without it a context is pictures there, and vectors here"
            )
            refuse("_embedding_net", embedding, why)
        return list(parts), seen
    if not pictures:
        why = "expected no network before the context: make one flow of what it gives"
        refuse("_embedding_net", embedding, why)
    size = context_of(flow, shape).size
    through = _at_every_place(embedding, size)
    return [replace(part, weights=_given(part.weights, *through)) for part in parts], size


def _at_every_place(embedding: nn.Module, size: int) -> tuple[Tensor, Tensor]:
    """Returns matrix and shift of what a network makes of vectors, the same at every place."""
    vectors = torch.randn(2 * size + 8, size, generator=torch.Generator().manual_seed(0)).double()
    shift = embedding(torch.zeros(1, size).double()).flatten(2)[0, :, 0]
    matrix = embedding(torch.eye(size).double()).flatten(2)[:, :, 0].T - shift[:, None]
    made = embedding(vectors).flatten(2)
    expected = (vectors @ matrix.T + shift)[:, :, None].expand_as(made)
    if not torch.allclose(made, expected, rtol=1e-9, atol=1e-9):
        why = (
            "expected one that puts a vector, or a linear map of it, at every place alike: "
            "contexts are vectors here"
        )
        refuse("_embedding_net", embedding, why)
    return matrix, shift


def _given(weights: Weights, matrix: Tensor, shift: Tensor) -> Weights:
    """Returns a network's weights for contexts c, of those for contexts matrix c + shift."""
    found = dict(weights)
    for name, weight in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and layer.endswith((".context", ".gate")):
            found[name] = weight @ matrix
            found[f"{layer}.bias"] = weights[f"{layer}.bias"] + weight @ shift
    return found
