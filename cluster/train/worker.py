"""The training function of each Ray Train worker: data-parallel, with checkpoints and metrics."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train import Checkpoint, CheckpointUploadMode
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from cluster.storage import StorageConfig
from cluster.train.checkpoints import new_folder, restore_run, save_run, sweep
from cluster.train.preemption import StopWatch
from flowkd.errors import NonFiniteError
from flowkd.training.inputs import Worker, load_data
from flowkd.training.metrics_log import RunLog
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import ResolvedRun
from flowkd.training.run import Run


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Trains a run on this worker, from its last checkpoint if there is one.

    Args:
        settings: `run`, a dumped ResolvedRun; `storage`, a dumped StorageConfig; `commit`, the git
            commit of the code, or None.

    Returns:
        On every rank: `error`, a message if a term became non-finite, else None; `stopped`, the
        number of steps after which the run was asked to stop before its end, else None.
    """
    resolved = ResolvedRun.model_validate(settings["run"])
    config = resolved.config
    store = StorageConfig.model_validate(settings["storage"]).store()
    torch.set_num_threads(config.scaling.cpus)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    worker = Worker(rank, world, ray.train.torch.get_device())
    run = prepare_run(resolved, load_data(resolved, store), worker)
    sweep()
    unwritten = _resume(run)
    objective = (
        run.objective
        if world == 1
        else DistributedDataParallel(run.objective, broadcast_buffers=False)
    )
    began = time.perf_counter()
    watch = StopWatch(store, config.name, looks=rank == 0)
    try:
        ours = RunLog(store, config.name, run.step, unwritten) if rank == 0 else nullcontext()
        with ours as log:
            for result in run.steps(objective):
                line = run.record(result, _sum_over_workers)
                if line and log is not None:
                    log.append(line)
                stopping = _must_stop(run, watch)
                if stopping or run.is_due(config.checkpoint_every):
                    _checkpoint(run, log)
                if stopping:
                    return {"error": None, "stopped": run.step}
    except NonFiniteError as error:
        return {"error": _first_message(str(error), world), "stopped": None}
    finally:
        watch.close()
    if rank == 0:
        run.finish(store, time.perf_counter() - began, settings["commit"])
    return {"error": None, "stopped": None}


def _must_stop(run: Run, watch: StopWatch) -> bool:
    """Tells whether all workers stop after this step: where they add up their losses anyway."""
    if not run.is_due(run.config.log_every) or run.at_its_end:
        return False
    return bool(_sum_over_workers(torch.tensor([float(watch.asked)])).item())


def _checkpoint(run: Run, log: RunLog | None) -> None:
    run.count_dropped(_sum_over_workers)
    checkpoint = None
    if log is not None:
        folder = new_folder()
        save_run(run, log, folder)
        checkpoint = Checkpoint.from_directory(folder)
    ray.train.report(
        {"step": run.step, "best_bits_per_dim": run.best_bits_per_dim},
        checkpoint=checkpoint,
        checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
    )


def _resume(run: Run) -> list[dict[str, Any]]:
    """Goes on from the last checkpoint, if any; returns the lines that the log may lack."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return []
    device = next(run.objective.flow.parameters()).device
    with checkpoint.as_directory() as folder:
        return restore_run(run, Path(folder), device)


def _sum_over_workers(values: Tensor) -> Tensor:
    if dist.is_initialized() and dist.get_world_size() > 1:
        device = ray.train.torch.get_device()
        values = values.to(device)
        dist.all_reduce(values)
    return values.cpu()


def _first_message(message: str, world: int) -> str:
    # All workers stop at the same step; the one whose data did it knows the term.
    if world == 1:
        return message
    messages: list[Any] = [None] * world
    dist.all_gather_object(messages, message)
    named = [text for text in messages if "gradient norm" not in text]
    return (named or messages)[0]
