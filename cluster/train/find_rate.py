"""The search for a run's learning rate, on the cluster: where its first worker would train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import torch

from cluster.storage import StorageConfig
from cluster.train.placement import resources_per_worker
from flowkd.training.choices.rate import LOOKING, known_rate, with_rate
from flowkd.training.inputs import Worker, load_data
from flowkd.training.resolved import ResolvedRun


def rate_found(
    run: ResolvedRun, storage: StorageConfig, tell: Callable[[str], None] = lambda _: None
) -> ResolvedRun:
    """Returns a run whose learning rate is known: as it was given, as another found it, or found.

    Args:
        run: What is to be trained.
        storage: Store of its data, and of what is found.
        tell: Called with what is looked for, and with what was found, in words.

    Raises:
        NonFiniteError: No rate trains this flow on these data.
    """
    known = known_rate(run, storage.store())
    if known is not None:
        if known.found_rate is not None:
            tell(str(known.found_rate))
        return known
    if run.config.train.learning_rate == "find":
        tell(LOOKING)
    taken = resources_per_worker(run.config.scaling)
    options = {"num_cpus": taken.pop("CPU", 0), "num_gpus": taken.pop("GPU", 0), "resources": taken}
    call = _find.options(name=f"learning rate of {run.config.name}", **options)
    try:
        found = ray.get(call.remote(run.model_dump(mode="json"), storage.model_dump(mode="json")))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    resolved = ResolvedRun.model_validate(found)
    for found_here in (resolved.found_precision, resolved.found_rate):
        if found_here is not None:
            tell(str(found_here))
    return resolved


@ray.remote
def _find(run: dict[str, Any], storage: dict[str, Any]) -> dict[str, Any]:
    resolved = ResolvedRun.model_validate(run)
    store = StorageConfig.model_validate(storage).store()
    scaling = resolved.config.scaling
    torch.set_num_threads(scaling.cpus)
    worker = Worker(device="cuda" if scaling.gpu else "cpu")
    found = with_rate(resolved, load_data(resolved, store), store, worker)
    return found.model_dump(mode="json")
