"""Imports data that are larger than memory, chunk by chunk; an interrupted import is resumed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field

from flowkd.config import Config, parse_config
from flowkd.data.context_statistics import context_fields
from flowkd.data.groups import count_groups
from flowkd.data.manifest import SPLITS, Manifest, Split
from flowkd.data.notes import Noted, Notes
from flowkd.data.reading import StoredRows
from flowkd.data.rows import iter_shards
from flowkd.data.seeds import derive_seed
from flowkd.data.writing import (
    SHARD_BYTES,
    SplitArrays,
    check_arrays,
    commit_manifest,
    refuse_remarks,
    shard_files,
    write_shards,
)
from flowkd.errors import ConfigError, DataError, StoreError
from flowkd.store.sealed import read_sealed, write_sealed
from flowkd.store.store import Store

PROGRESS = "import.json"


@dataclass(frozen=True)
class ImportChunk:
    """A part of a source that fits into memory.

    Attributes:
        key: Its name, unique in the source and the same in every attempt.
        read: Returns its rows by split; not called if an earlier attempt has written them.
        notes: What `read` notes of its files; kept with its shards.
    """

    key: str
    read: Callable[[], Mapping[str, SplitArrays]]
    notes: Notes = field(default_factory=Notes)


class ImportProgress(Config):
    """The file `datasets/<name>/import.json`: what an import has written so far.

    Attributes:
        identity: Config of the import and fingerprint of the source.
        chunks: Shards of each chunk that is done, and its number of groups, by key and split.
        notes: What was noted of the files of the chunks that are done.
    """

    identity: dict[str, Any]
    chunks: dict[str, dict[str, Split]] = Field(default_factory=dict)
    notes: dict[str, dict[str, Noted]] = Field(default_factory=dict)


def import_chunks(
    store: Store,
    draft: Manifest,
    chunks: Iterable[ImportChunk],
    *,
    fingerprint: str,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
    conclude: Callable[[Manifest, Notes], Manifest] = lambda manifest, notes: manifest,
) -> Manifest:
    """Writes a data set chunk by chunk and returns its manifest, which is written last.

    Until then an older data set of the name stays as it was. The same import, started again, reads
    no chunk that is written already. Train rows are shuffled within their chunk. A group that has
    rows in several chunks counts once in each.

    Args:
        store: Where `datasets/<name>/` goes.
        draft: The manifest without its splits.
        chunks: The chunks, in the same order in every attempt.
        fingerprint: Hash of the source: with another one, an import starts from the beginning.
        seed: Seed of the order of the train rows; default 0.
        shard_bytes: Most bytes of x, uncompressed, in a shard; default 16 MiB.
        conclude: Puts into the manifest what was noted of all chunks; default nothing.

    Raises:
        DataError: A split has no rows, the import is strict and there are remarks, or what reading
            a chunk raises.
    """
    refuse_remarks(draft)
    identity = {"config": draft.config, "source": fingerprint}
    done, notes = _read_progress(store, draft.name, identity)
    numbers = dict.fromkeys(SPLITS, 0)
    splits: dict[str, list[Split]] = {split: [] for split in SPLITS}
    for chunk in chunks:
        if chunk.key not in done:
            done[chunk.key] = _write_chunk(store, draft, chunk, numbers, seed, shard_bytes)
            notes.merge(chunk.notes)
            progress = ImportProgress(identity=identity, chunks=done, notes=notes.found)
            write_sealed(store, progress.model_dump(mode="json"), "datasets", draft.name, PROGRESS)
        for split, part in done[chunk.key].items():
            numbers[split] += len(part.shards)
            splits[split].append(part)
    for split, parts in splits.items():
        if not parts:
            raise DataError(f"expected at least one row in split {split!r} of {draft.source}")
    found = {split: _joined(parts) for split, parts in splits.items()}
    draft = conclude(draft.model_copy(update={"splits": found}), notes)
    if draft.context_size is not None:
        draft = draft.model_copy(update=_context_fields(store, draft, draft.context_size))
    manifest = commit_manifest(store, draft)
    store.remove("datasets", draft.name, PROGRESS)
    return manifest


def _context_fields(store: Store, manifest: Manifest, size: int) -> dict[str, Any]:
    """Returns the context's statistics, read back: an attempt before this one wrote some of it."""
    rows = StoredRows(store, manifest, "train")
    parts = (part.context.numpy() for part in iter_shards(rows) if part.context is not None)
    return context_fields(parts, size, manifest.context_columns, manifest.source)


def _write_chunk(
    store: Store,
    draft: Manifest,
    chunk: ImportChunk,
    numbers: Mapping[str, int],
    seed: int,
    shard_bytes: int,
) -> dict[str, Split]:
    written = {}
    for split, arrays in chunk.read().items():
        if not len(arrays.x):
            continue
        check_arrays(arrays, draft, f"{chunk.key}, split {split!r}")
        if split == "train":
            arrays = _shuffled(arrays, derive_seed(seed, f"order/{draft.name}/{chunk.key}"))
        shards = write_shards(store, draft.name, split, arrays, shard_bytes, numbers[split])
        written[split] = Split(
            rows=len(arrays.x), groups=count_groups(arrays.group), shards=list(shards)
        )
    return written


def _joined(parts: Sequence[Split]) -> Split:
    groups = [part.groups for part in parts if part.groups is not None]
    return Split(
        rows=sum(part.rows for part in parts),
        groups=sum(groups) if groups else None,
        shards=[shard for part in parts for shard in part.shards],
    )


def _shuffled(arrays: SplitArrays, seed: int) -> SplitArrays:
    order = np.random.default_rng(seed).permutation(len(arrays.x))
    context, group = (
        None if part is None else part[order] for part in (arrays.context, arrays.group)
    )
    return SplitArrays(arrays.x[order], context, group)


def _read_progress(
    store: Store, name: str, identity: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Split]], Notes]:
    """Returns what an earlier attempt at the same import has written and noted.

    The shards of an attempt at another import are removed, unless the data set itself has them.
    """
    if not store.exists("datasets", name, PROGRESS):
        return {}, Notes()
    try:
        values = read_sealed(store, "datasets", name, PROGRESS)
        progress = parse_config(ImportProgress, values, source=PROGRESS)
    except (ConfigError, StoreError):
        return {}, Notes()
    if progress.identity == identity:
        return dict(progress.chunks), Notes(progress.notes)
    kept = shard_files(store, name)
    for chunk in progress.chunks.values():
        for shard in itertools.chain(*(part.shards for part in chunk.values())):
            if shard.file not in kept:
                store.remove("datasets", name, shard.file)
    return {}, Notes()
