"""Data too large for memory -> shards, part by part; what is cut short goes on where it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from flowkd.config import Config, parse_config
from flowkd.data.manifest import SPLITS, Manifest, Shard, Split
from flowkd.data.shuffle import derive_seed
from flowkd.data.writing import (
    SHARD_BYTES,
    Arrays,
    check_arrays,
    put_manifest,
    shard_files,
    write_shards,
)
from flowkd.errors import ConfigError, DataError, StoreError
from flowkd.store.store import Store

PROGRESS = "import.json"

Parts = dict[str, dict[str, list[Shard]]]


@dataclass(frozen=True)
class ImportPart:
    """A piece of a source that fits into memory.

    Attributes:
        key: Its name, the same in every attempt and unlike all others'.
        read: Returns its rows by split; is not called if an earlier attempt has written them.
    """

    key: str
    read: Callable[[], Mapping[str, Arrays]]


class ImportProgress(Config):
    """What an import has written so far: `datasets/<name>/import.json`.

    Attributes:
        of: What is imported: config and fingerprint of the source.
        parts: The shards of each part that is done, by split.
    """

    of: dict[str, Any]
    parts: Parts = Field(default_factory=dict)


def import_parts(
    store: Store,
    about: Manifest,
    parts: Iterable[ImportPart],
    *,
    fingerprint: str,
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
) -> Manifest:
    """Writes a dataset part by part and returns its manifest, which is written last.

    Until then the dataset, or the older one of its name, is as it was. The same import, begun
    again, reads no part that is written already. Train rows are shuffled within their part.

    Args:
        store: Where `datasets/<name>/` goes.
        about: All that the manifest says but for the splits.
        parts: In the same order in every attempt.
        fingerprint: Of the source: an import of another one begins anew.
        seed: Of the order of the train rows.
        shard_bytes: The most data, uncompressed, that a shard holds.

    Raises:
        DataError: A split remains without rows, or what reading a part raises.
    """
    of = {"config": about.config, "source": fingerprint}
    done = _read_progress(store, about.name, of)
    numbers = dict.fromkeys(SPLITS, 0)
    splits: dict[str, list[Shard]] = {split: [] for split in SPLITS}
    for part in parts:
        if part.key not in done:
            done[part.key] = _write_part(store, about, part, numbers, seed, shard_bytes)
            progress = ImportProgress(of=of, parts=done)
            store.write_json(progress.model_dump(mode="json"), "datasets", about.name, PROGRESS)
        for split, shards in done[part.key].items():
            numbers[split] += len(shards)
            splits[split] += shards
    for split, shards in splits.items():
        if not sum(shard.rows for shard in shards):
            raise DataError(f"expected at least one row in split {split!r} of {about.source}")
    found = {
        split: Split(rows=sum(shard.rows for shard in shards), shards=shards)
        for split, shards in splits.items()
    }
    manifest = put_manifest(store, about.model_copy(update={"splits": found}))
    store.remove("datasets", about.name, PROGRESS)
    return manifest


def _write_part(
    store: Store,
    about: Manifest,
    part: ImportPart,
    numbers: Mapping[str, int],
    seed: int,
    shard_bytes: int,
) -> dict[str, list[Shard]]:
    written = {}
    for split, arrays in part.read().items():
        if not len(arrays.x):
            continue
        check_arrays(arrays, about, f"{part.key}, split {split!r}")
        if split == "train":
            arrays = _shuffled(arrays, derive_seed(seed, f"order/{about.name}/{part.key}"))
        shards = write_shards(store, about.name, split, arrays, shard_bytes, numbers[split])
        written[split] = list(shards)
    return written


def _shuffled(arrays: Arrays, seed: int) -> Arrays:
    order = np.random.default_rng(seed).permutation(len(arrays.x))
    context = None if arrays.context is None else arrays.context[order]
    return replace(arrays, x=arrays.x[order], context=context)


def _read_progress(store: Store, name: str, of: Mapping[str, Any]) -> Parts:
    """Returns the parts that an earlier attempt at the very same import has written.

    Those of an attempt at another one are removed, but for what the dataset itself has.
    """
    if not store.exists("datasets", name, PROGRESS):
        return {}
    try:
        values = store.read_json("datasets", name, PROGRESS)
        progress = parse_config(ImportProgress, values, source=PROGRESS)
    except (ConfigError, StoreError):
        return {}
    if progress.of == of:
        return dict(progress.parts)
    kept = shard_files(store, name)
    for part in progress.parts.values():
        for shard in itertools.chain(*part.values()):
            if shard.file not in kept:
                store.remove("datasets", name, shard.file)
    return {}
