"""What many runs have in common, read and computed once: a teacher, rows, the teacher's targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flowkd.data.manifest import Manifest
from flowkd.data.reading import StoredRows
from flowkd.data.rows import Examples
from flowkd.flows.flow import Flow
from flowkd.registry.pins import PinnedArtifact
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import RunData, Worker, load_data
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import complete_run, resolve_run
from flowkd.training.run import Run
from flowkd.training.teacher_data import ask_teacher


@dataclass(frozen=True)
class SharedData:
    """What runs on the same rows, of the same teacher, seed and cache, need not read again.

    Attributes:
        teacher: The teacher of all these runs.
        manifest: Manifest of their data set.
        data: Flows and rows in memory, and what the teacher says.
    """

    teacher: PinnedArtifact
    manifest: Manifest
    data: RunData

    def prepare(self, config: TrainingConfig, worker: Worker | None = None) -> Run:
        """Returns a run of a config without reading anything; raises ConfigError as a run does."""
        source = self.teacher if config.distillation and config.distillation.source else None
        run = complete_run(config, self.manifest, self.teacher, source)
        return prepare_run(run, self.data, worker)


def share(config: TrainingConfig, store: Store, taps: Sequence[str] = ()) -> SharedData:
    """Reads and computes once what runs like this one need.

    Args:
        config: A distillation on a data set, which learns from samples if any of them does.
        store: The store that holds data set and teacher.
        taps: Those of the teacher at which any of the runs may have a hint.

    Raises:
        ConfigError: Targets that are more than the cache's limit.
        DataError: No such data set.
        NonFiniteError: A teacher without a finite sample.
        StoreError: No such teacher.
    """
    run = resolve_run(config, store)
    assert isinstance(run.teacher, PinnedArtifact)
    assert run.manifest is not None
    stored = load_data(run, store)
    assert isinstance(stored.train, StoredRows)
    train: Examples = replace(stored.train.read_all(), sharding=stored.train.shard_sizes)
    assert isinstance(stored.teacher, Flow)
    data = replace(stored, train=train, source=stored.teacher)
    known = ask_teacher(run, data, taps)
    return SharedData(run.teacher, run.manifest, replace(data, known=known))
