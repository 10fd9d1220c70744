"""Workers who write down how many rows their teacher was asked for before training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import Tensor

from cluster.storage import StorageConfig
from flowkd.data.rows import Examples
from flowkd.flows.flow import Flow
from flowkd.store.store import Store
from flowkd.training import prepare
from flowkd.training.inputs import RunData, RunInputs, Worker
from flowkd.training.resolved import ResolvedRun


def listening_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """What Ray Train calls on each worker, which writes down what its teacher was asked for."""
    import ray.train

    from cluster.train.worker import train_worker

    store = StorageConfig.model_validate(settings["storage"]).store()
    with heard_teacher(store, str(ray.train.get_context().get_world_rank())):
        return train_worker(settings)


@contextmanager
def heard_teacher(store: Store, name: str) -> Iterator[None]:
    """Writes the number of rows, and a digest of what was said, to `heard/NAME`."""
    asked: list[int] = []

    def counted(way: str) -> Any:
        ordinary = getattr(Flow, way)

        def call(flow: Flow, x: Tensor, *args: Any) -> Any:
            asked.append(len(x))
            return ordinary(flow, x, *args)

        return call

    gather = prepare.gather_inputs

    def gather_heard(run: ResolvedRun, data: RunData, worker: Worker) -> RunInputs:
        with pytest.MonkeyPatch.context() as patch:
            for way in ("forward", "inverse"):
                patch.setattr(Flow, way, counted(way))
            inputs = gather(run, data, worker)
        batches: Any = inputs.batches
        digest = hashlib.sha256()
        for rows in (batches.data.rows, batches.samples.rows):
            digest.update(_bytes(rows))
        store.write_json({"rows": sum(asked), "digest": digest.hexdigest()}, "heard", name)
        return inputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "gather_inputs", gather_heard)
        yield


def _bytes(rows: Examples) -> bytes:
    values = [rows.x, *(rows.targets[name] for name in sorted(rows.targets))]
    return b"".join(value.numpy().tobytes() for value in values)
