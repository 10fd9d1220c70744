"""The precision of a run that leaves it open: measured once for a machine, a flow and a batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import torch

from flowkd.config import parse_config
from flowkd.store.store import Store
from flowkd.training.inputs import Worker
from flowkd.training.precision import FoundPrecision, machine_name, measure_precision
from flowkd.training.resolved import ResolvedRun


def with_precision(
    run: ResolvedRun,
    store: Store | None = None,
    worker: Worker | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ResolvedRun:
    """Returns a run whose precision is known: as it was given, as another found it, or measured.

    Args:
        run: What is to be trained.
        store: Keeps what was found; None: not kept.
        worker: Where it is trained; default the CPU.
        tell: Called with what was found, in words.
    """
    if run.config.train.precision != "auto":
        return run
    worker = worker or Worker()
    # As many rows as one worker gets, when all have come.
    rows = max(1, run.config.batch_size // run.config.scaling.workers)
    path = _path(run, rows, worker)
    if store is not None and store.exists(*path):
        known = json.loads(store.read(*path))
        found = parse_config(FoundPrecision, known, source="/".join(path))
        found = found.model_copy(update={"shared": True})
    else:
        found = measure_precision(run.flow, rows, worker.device)
        if store is not None:
            store.write(found.model_dump_json().encode(), *path)
    tell(str(found))
    train = run.config.train.model_copy(update={"precision": found.precision})
    config = run.config.model_copy(update={"train": train})
    return run.model_copy(update={"config": config, "found_precision": found})


def _path(run: ResolvedRun, rows: int, worker: Worker) -> tuple[str, str]:
    facts = {
        "machine": machine_name(worker.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "flow": run.flow.model_dump(mode="json"),
        "rows": rows,
        "memory": run.config.train.memory,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return "precisions", f"{digest[:20]}.json"
