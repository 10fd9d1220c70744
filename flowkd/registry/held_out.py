"""A run's flow on its validation rows, beside a Gaussian of its training rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowkd.data.batch import Batch
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.gaussian import Gaussian
from flowkd.data.manifest import Manifest, dataset_names, read_manifest
from flowkd.data.reading import StoredRows, load_split
from flowkd.data.rows import Examples, concat_examples
from flowkd.flows.flow import Flow
from flowkd.registry.artifacts import Artifact
from flowkd.store.store import Store

# As many training rows, or values of them, determine a Gaussian well enough; of so many shards at
# least, as rows that lie together may be alike.
GAUSSIAN_ROWS, GAUSSIAN_VALUES = 20_000, 2**25
GAUSSIAN_SHARDS = 16
CHUNK = 500


@dataclass(frozen=True)
class HeldOut:
    """Figures on the validation rows that chose a run's weights.

    Attributes:
        rows: These rows, noise included.
        bits_per_dim: Of the flow.
        gaussian_bits_per_dim: Of a Gaussian that is fitted to the training rows: with a shrunk
            covariance for tables, a value at a time for pictures and beyond 512 dimensions.
        error: Standard error of their difference over these rows; 0 of a single one.
        train_rows: How many rows the flow was trained on.
    """

    rows: Batch
    bits_per_dim: float
    gaussian_bits_per_dim: float
    error: float
    train_rows: int


def held_out(artifact: Artifact, store: Store) -> HeldOut | str:
    """Returns a run's figures on its data set, or in words why there are none.

    Args:
        artifact: The run's result, whose training names the data set and how many rows it used.
        store: Holds the data set.

    Raises:
        DataError: A data set that is damaged.
    """
    training, name = artifact.config.training, artifact.manifest.lineage.dataset
    if name in (None, "none") or "validation_rows" not in training:
        return "Not compared with a Gaussian: no data set is known that it was trained on."
    if name not in dataset_names(store):
        return f"Not compared with a Gaussian: its data set {name!r} is not in the store."
    manifest = read_manifest(store, name)
    if not fits(artifact.flow, manifest):
        return f"Not compared with a Gaussian: its data set {name!r} was replaced by another one."
    rows = training["train_rows"], training["validation_rows"]
    return judged(artifact.flow, manifest, store, *rows, training["seed"])


def judged(
    flow: Flow,
    manifest: Manifest,
    store: Store,
    train_rows: int | None,
    validation_rows: int | None,
    seed: int,
) -> HeldOut:
    """Returns a flow's figures on the validation rows of a data set that it fits.

    Args:
        flow: Of any dtype, on the CPU.
        manifest: Of the data set.
        store: Holds it.
        train_rows: How many of its rows the Gaussian is fitted to; None for all.
        validation_rows: How many are judged on; None for all.
        seed: Of their noise.
    """
    judged = load_split(store, manifest, "val", limit=validation_rows)
    if not flow.context.width:
        judged = judged.without_context()
    rows = next(evaluation_batches(judged, manifest.bins, len(judged), seed))
    stored = StoredRows(store, manifest, "train", limit=train_rows)
    taken = _spread(stored, min(GAUSSIAN_ROWS, max(1, GAUSSIAN_VALUES // flow.dimensions)))
    known = next(evaluation_batches(taken, manifest.bins, len(taken), seed))
    gaussian = Gaussian.fit(known.x, full=manifest.kind == "table")
    ours, theirs = _bits_of_rows(flow, rows), gaussian.bits_of_rows(rows.x)
    over = ours - theirs
    error = over.std().item() / math.sqrt(len(over)) if len(over) > 1 else 0.0
    bits = ours.mean().item()
    return HeldOut(
        rows=rows,
        bits_per_dim=bits if math.isfinite(bits) else math.inf,
        gaussian_bits_per_dim=theirs.mean().item(),
        error=error if math.isfinite(error) else 0.0,
        train_rows=len(stored),
    )


def fits(flow: Flow, manifest: Manifest) -> bool:
    """Tells whether a data set has rows, and a context, of a flow's shape."""
    context = (manifest.classes or 0, manifest.context_size or 0)
    given = (flow.context.classes, flow.context.size)
    same = tuple(manifest.event_shape) == flow.event_shape
    return same and (not flow.context.width or given == context)


def _spread(rows: StoredRows, count: int) -> Examples:
    """Returns about so many rows, of shards from the first to the last."""
    shards = len(rows.shards)
    wanted = min(shards, max(GAUSSIAN_SHARDS, math.ceil(shards * count / len(rows))))
    numbers = [number * shards // wanted for number in range(wanted)]
    each = math.ceil(count / wanted)
    return concat_examples(
        [rows.read_shard(number).without_context().slice(0, each) for number in numbers]
    )


@torch.no_grad()
def _bits_of_rows(flow: Flow, rows: Batch) -> Tensor:
    parts = []
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        context = None if rows.context is None else rows.context[part]
        parts.append(flow.log_prob(rows.x[part], context).double())
    return -torch.cat(parts) / (flow.dimensions * math.log(2))
