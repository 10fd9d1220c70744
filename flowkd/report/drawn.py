"""What flows make of the same latents, beside rows of the data: what a page shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.facts import column_names
from flowkd.data.manifest import Manifest
from flowkd.data.rows import Examples
from flowkd.flows.flow import Flow

SEED = 0
CHUNK = 512  # rows of a call of a flow


@dataclass(frozen=True)
class TableRows:
    """Rows of a table, and as many of each flow from the same latents.

    Attributes:
        names: Names of the columns, with their units.
        data: (N, D), in data units, with the noise of columns of steps.
        flows: Samples (N, D) by flow; the same row of each comes from the same latent.
    """

    names: Sequence[str]
    data: np.ndarray
    flows: Mapping[str, np.ndarray]


@torch.no_grad()
def samples_of(
    flows: Mapping[str, Flow], rows: Examples, *, temperature: float = 1.0
) -> dict[str, Tensor]:
    """Returns a sample of each flow for each row, in data units, (N, *event_shape).

    Row i of every flow comes from the same latent, given row i's context where it takes one.
    """
    found = {}
    for label, flow in flows.items():
        generator = torch.Generator().manual_seed(SEED)
        z = flow.draw_latents(len(rows), temperature=temperature, generator=generator)
        context = rows.context if flow.context.width else None
        found[label] = inverse_of(flow, z, context)
    return found


@torch.no_grad()
def inverse_of(flow: Flow, z: Tensor, context: Tensor | None) -> Tensor:
    """Returns x of latents (N, *latent_shape), computed in chunks."""
    parts = []
    for start in range(0, len(z), CHUNK):
        part = slice(start, start + CHUNK)
        parts.append(flow.inverse(z[part], None if context is None else context[part]))
    return torch.cat(parts)


def table_rows(flows: Mapping[str, Flow], rows: Examples, manifest: Manifest) -> TableRows:
    """Returns rows of a table, with the noise that flows learn from, and samples beside them."""
    data = next(evaluation_batches(rows, manifest.bins, len(rows), SEED)).x
    samples = samples_of(flows, rows)
    width = data[0].numel()
    return TableRows(
        column_names(manifest, width),
        data.reshape(len(data), width).numpy(),
        {label: drawn.reshape(len(drawn), width).numpy() for label, drawn in samples.items()},
    )
