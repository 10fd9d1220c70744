"""What many runs have in common: a teacher, a data set, and what the one says of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flowkd.data.manifest import Manifest, read_manifest
from flowkd.data.reading import StoredRows, load_split
from flowkd.data.rows import Examples
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.store.store import Store
from flowkd.training.config import DistillationConfig, TrainingConfig
from flowkd.training.inputs import Data
from flowkd.training.teacher_data import Known, ask_once


@dataclass(frozen=True)
class Shared:
    """What runs on the same rows, of the same seed and cache, need not read or compute again.

    Attributes:
        teacher: Of all of them.
        manifest: Of the data set.
        train: Its rows to train on.
        validation: Its rows to be judged on.
        known: What the teacher says.
    """

    teacher: Artifact
    manifest: Manifest
    train: Examples
    validation: Examples
    known: Known


def share(config: TrainingConfig, store: Store, taps: Sequence[str] = ()) -> Shared:
    """Reads and computes once what runs like this one need.

    Args:
        config: A distillation on a data set, which learns from samples if any of them does.
        store: Where everything lies.
        taps: Those of the teacher at which any of the runs may have a hint.

    Raises:
        ConfigError: Answers that are more than the cache's limit.
        DataError: No such data set.
        NonFiniteError: A teacher without a finite sample.
        StoreError: No such teacher.
    """
    settings = config.objective
    assert isinstance(settings, DistillationConfig)
    teacher = load_artifact(store, settings.teacher)
    manifest = read_manifest(store, config.dataset)
    stored = StoredRows(store, manifest, "train", limit=config.train_rows)
    train = replace(stored.read_all(), sharding=stored.shard_sizes)
    validation = load_split(store, manifest, "val", limit=config.validation_rows)
    if not teacher.flow.context.width:
        train, validation = train.without_context(), validation.without_context()
    data = Data(train, validation, manifest.bins)
    known = ask_once(config, data, teacher.flow, taps)
    return Shared(teacher, manifest, train, validation, known)
