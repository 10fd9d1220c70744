"""Writes data sets: Parquet shards, then a manifest; readers see the old data or the new."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flowkd.columns import ColumnSteps, ColumnTransforms
from flowkd.data.context_statistics import context_fields
from flowkd.data.groups import count_groups, remarks_on_groups
from flowkd.data.manifest import MANIFEST, SPLITS, LeftOut, Manifest, Shard, Split, read_manifest
from flowkd.errors import DataError
from flowkd.store.sealed import write_sealed
from flowkd.store.store import Store

SHARD_BYTES = 16 * 2**20  # of x, uncompressed


@dataclass(frozen=True)
class SplitArrays:
    """The rows of one split, or a part of them, as NumPy arrays.

    Attributes:
        x: (N, *event), uint8 (integer bins) or float32 (continuous), in data units.
        context: None, (N,) int64 classes, or (N, c) float32 vectors.
        group: (N,) int64, equal for rows that belong together, no number in two splits; default
            None, each row is one of its own.
    """

    x: np.ndarray
    context: np.ndarray | None = None
    group: np.ndarray | None = None


def write_dataset(
    store: Store,
    name: str,
    splits: Mapping[str, SplitArrays],
    *,
    kind: Literal["image", "table"],
    source: str,
    bins: int | None = None,
    classes: int | None = None,
    class_names: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    steps: ColumnSteps | None = None,
    transforms: ColumnTransforms | None = None,
    mean: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    context_columns: Sequence[str] | None = None,
    group: str | None = None,
    left_out: Sequence[LeftOut] = (),
    remarks: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Manifest:
    """Writes a dataset, replacing one of the same name, and returns its manifest.

    Shards are named by their content and the manifest is written last, so a write that is cut
    short leaves the older dataset whole; the older shards go once the new manifest is in place.

    Args:
        store: Where `datasets/<name>/` goes.
        name: The dataset's name.
        splits: The rows of `train`, `val` and `test`.
        shard_bytes: Most bytes of x, uncompressed, in a shard; default 16 MiB.
        kind, source, bins, classes, class_names, columns, units, steps, transforms,
            mean, scale, context_columns, group, left_out, remarks, config: As in Manifest.

    Raises:
        DataError: A split has no rows; a column of the context is constant over the train split,
            or its values are lost in float32; or the import is strict and there are remarks.
        ValueError: The splits are not train, val and test, or differ in shape or dtype.

    Examples:
        >>> from flowkd.data.manifest import read_manifest
        >>> store = Store("memory://writing")
        >>> pictures = np.zeros((10, 3, 8, 8), np.uint8)
        >>> splits = {
        ...     "train": SplitArrays(pictures),
        ...     "val": SplitArrays(pictures[:2]),
        ...     "test": SplitArrays(pictures[:2]),
        ... }
        >>> _ = write_dataset(store, "mine", splits, kind="image", bins=256, source="example")
        >>> read_manifest(store, "mine").event_shape
        (3, 8, 8)
        >>> store.remove()
    """
    if set(splits) != set(SPLITS):
        raise ValueError(f"expected splits {list(SPLITS)}; got {list(splits)}")
    train = splits["train"]
    vector = classes is None and train.context is not None and train.context.ndim == 2
    draft = Manifest(
        name=name,
        kind=kind,
        event_shape=train.x.shape[1:],
        bins=bins,
        classes=classes,
        class_names=None if class_names is None else list(class_names),
        context_size=train.context.shape[1] if train.context is not None and vector else None,
        columns=None if columns is None else list(columns),
        units=dict(units or {}),
        steps=None if steps is None or not any(steps) else list(steps),
        transforms=None if transforms is None or not any(transforms) else list(transforms),
        mean=None if mean is None else [float(value) for value in mean],
        scale=None if scale is None else [float(value) for value in scale],
        context_columns=None if context_columns is None else list(context_columns),
        group=group,
        left_out=list(left_out),
        remarks=list(remarks),
        splits={},
        source=source,
        config=dict(config or {}),
    )
    refuse_remarks(draft)
    for split, arrays in splits.items():
        if len(arrays.x) == 0:
            raise DataError(f"expected at least one row in split {split!r}; got none")
        check_arrays(arrays, draft, f"split {split!r}")
    if train.context is not None and draft.context_size is not None:
        where = f"dataset {name!r}"
        found = context_fields([train.context], draft.context_size, draft.context_columns, where)
        draft = draft.model_copy(update=found)
    _check_groups_apart(splits)
    written = {
        split: Split(
            rows=len(splits[split].x),
            groups=count_groups(splits[split].group),
            shards=list(write_shards(store, name, split, splits[split], shard_bytes)),
        )
        for split in SPLITS
    }
    return commit_manifest(store, draft.model_copy(update={"splits": written}))


def check_arrays(arrays: SplitArrays, draft: Manifest, where: str) -> None:
    """Raises ValueError where rows are not of the shapes and dtypes of a manifest."""
    dtype = np.float32 if draft.bins is None else np.uint8
    if arrays.x.dtype != dtype:
        raise ValueError(
            f"expected {dtype.__name__} x for bins={draft.bins} in {where}; got {arrays.x.dtype}"
        )
    if arrays.x.shape[1:] != draft.event_shape:
        raise ValueError(
            f"expected event_shape {draft.event_shape} in {where}; got {arrays.x.shape[1:]}"
        )
    wanted: tuple[int, ...] | None = None
    if draft.context_size is not None:
        wanted = (len(arrays.x), draft.context_size)
    elif draft.classes is not None:
        wanted = (len(arrays.x),)
    shape = None if arrays.context is None else arrays.context.shape
    if shape != wanted:
        raise ValueError(f"expected context of shape {wanted} in {where}; got {shape}")
    kind = np.int64 if draft.classes is not None else np.float32
    if arrays.context is not None and arrays.context.dtype != kind:
        raise ValueError(
            f"expected {kind.__name__} context for classes={draft.classes} in {where}; "
            f"got {arrays.context.dtype}"
        )
    group = None if arrays.group is None else (arrays.group.dtype, arrays.group.shape)
    if group != (None if draft.group is None else (np.int64, (len(arrays.x),))):
        raise ValueError(
            f"expected int64 group of each row for group={draft.group!r} in {where}; got {group}"
        )


def _check_groups_apart(splits: Mapping[str, SplitArrays]) -> None:
    known = [np.unique(arrays.group) for arrays in splits.values() if arrays.group is not None]
    if known and len(np.unique(np.concatenate(known))) < sum(map(len, known)):
        raise ValueError("expected every group in one split; got some in two")


def write_shards(
    store: Store, name: str, split: str, arrays: SplitArrays, shard_bytes: int, first: int = 0
) -> Iterator[Shard]:
    """Writes rows as shards numbered from `first` on, of at most `shard_bytes` of x each."""
    rows = max(1, shard_bytes // max(1, arrays.x[0].nbytes))
    for number, start in enumerate(range(0, len(arrays.x), rows), first):
        part = slice(start, start + rows)
        columns = {"x": _column(arrays.x[part])}
        if arrays.context is not None:
            columns["context"] = _column(arrays.context[part])
        if arrays.group is not None:
            columns["group"] = _column(arrays.group[part])
        fields = [pa.field(key, column.type, nullable=False) for key, column in columns.items()]
        table = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", use_dictionary=False)
        data = sink.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        file = f"{split}-{number:05d}-{digest[:12]}.parquet"
        store.write(data, "datasets", name, file)
        yield Shard(file=file, rows=table.num_rows, sha256=digest, bytes=len(data))


def refuse_remarks(manifest: Manifest) -> None:
    """Raises DataError where a strict import has something to remark."""
    if manifest.config.get("strict") and manifest.remarks:
        first = f"dataset {manifest.name!r} is not imported, for `strict` refuses what is remarked:"
        raise DataError("\n- ".join([first, *manifest.remarks]))


def commit_manifest(store: Store, manifest: Manifest) -> Manifest:
    """Writes the manifest of shards that are there, then removes the shards that it replaces.

    It remarks splits of few groups.

    Raises:
        DataError: The import is strict, and the manifest remarks something.
    """
    few = remarks_on_groups(manifest.splits, manifest.group)
    manifest = manifest.model_copy(update={"remarks": [*manifest.remarks, *few]})
    refuse_remarks(manifest)
    # Only shards of the previous manifest: another writer's may lie here as well.
    older = shard_files(store, manifest.name)
    write_sealed(store, manifest.model_dump(mode="json"), "datasets", manifest.name, MANIFEST)
    for file in sorted(older - _files(manifest)):
        store.remove("datasets", manifest.name, file)
    return manifest


def _column(values: np.ndarray) -> pa.Array:
    values = np.ascontiguousarray(values)
    size = int(np.prod(values.shape[1:]))
    if values.dtype == np.uint8:  # as numbers, Parquet would store four bytes for each
        kind, data = pa.binary(size), pa.py_buffer(values.reshape(-1))
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, data])
    flat = pa.array(values.reshape(-1))
    if values.ndim == 1:
        return flat
    item = pa.field("element", flat.type, nullable=False)
    return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(item, size))


def _files(manifest: Manifest) -> set[str]:
    return {shard.file for split in manifest.splits.values() for shard in split.shards}


def shard_files(store: Store, name: str) -> set[str]:
    """Returns the files of a dataset as it is now; none if there is no readable one."""
    try:
        return _files(read_manifest(store, name))
    except DataError:  # none yet, or one that cannot be read and will be replaced
        return set()
