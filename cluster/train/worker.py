"""The training function of each Ray Train worker: data-parallel, with checkpoints and metrics."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train import Checkpoint, CheckpointUploadMode
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from cluster.storage import StorageConfig
from cluster.train.checkpoints import new_folder, save_run, sweep
from cluster.train.preemption import FENCED, NOTHING, STOP, StopWatch
from cluster.train.resume import last_checkpoint, resume_run
from flowkd.errors import FencedError, NonFiniteError
from flowkd.store.lease import Token, fenced
from flowkd.training.checkpoint_folders import checkpoints_folder
from flowkd.training.inputs import Worker, load_data
from flowkd.training.lease import place_of
from flowkd.training.logs.metrics import RunLog
from flowkd.training.prepare import prepare_run
from flowkd.training.resolved import ResolvedRun
from flowkd.training.run import Run


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Trains a run on this worker, from its last checkpoint if there is one.

    Args:
        settings: `run`, a dumped ResolvedRun; `storage`, a dumped StorageConfig; `token`, the
            number of the run's lease that the driver has; `commit`, the git commit of the code,
            or None.

    Returns:
        On every rank: `error`, a message if a term became non-finite, else None; `stopped`, the
        number of steps after which the run was asked to stop before its end, else None; `fenced`,
        a message if another driver has taken the run over, else None.
    """
    ended: dict[str, Any] = {"error": None, "stopped": None, "fenced": None}
    resolved = ResolvedRun.model_validate(settings["run"])
    config = resolved.config
    storage = StorageConfig.model_validate(settings["storage"])
    store = storage.store()
    torch.set_num_threads(config.scaling.cpus)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    worker = Worker(rank, world, ray.train.torch.get_device())
    run = prepare_run(resolved, load_data(resolved, store), worker)
    sweep()
    token = Token(store, place_of(config.name), settings["token"])
    folder, last, tells = checkpoints_folder(token), last_checkpoint(), rank == 0
    unwritten = resume_run(run, storage, folder, last, _sum_over_workers, tells=tells)
    objective = (
        run.objective
        if world == 1
        else DistributedDataParallel(run.objective, broadcast_buffers=False)
    )
    began = time.perf_counter()
    watch = StopWatch(token, looks=rank == 0)
    try:
        with _log(token, run, unwritten) if rank == 0 else nullcontext() as log:
            for result in run.steps(objective):
                line = run.record(result, _sum_over_workers)
                if line and log is not None:
                    log.append(line)
                asked = _asked(run, watch)
                if asked == FENCED:
                    raise _fenced(token)
                if asked == STOP or run.is_due(config.checkpoint_every):
                    _checkpoint(run, log)
                if asked == STOP:
                    return {**ended, "stopped": run.step}
        if rank == 0:
            run.finish(store, time.perf_counter() - began, token, settings["commit"])
    except NonFiniteError as error:
        return {**ended, "error": _first_message(str(error), world)}
    except FencedError as error:
        return {**ended, "fenced": str(error)}
    finally:
        watch.close()
    return ended


def _log(token: Token, run: Run, unwritten: list[dict[str, Any]]) -> RunLog:
    other = token.successor()
    if other is not None:  # while the driver stood still
        raise fenced(token.place, other)
    return RunLog(token.store, token.subject, run.step, unwritten, token.number)


def _fenced(token: Token) -> FencedError:
    other = token.successor()
    return fenced(token.place, other) if other else FencedError(f"{token} was taken over")


def _asked(run: Run, watch: StopWatch) -> int:
    """Returns what all workers are asked after this step: where they add up their losses anyway."""
    if not run.is_due(run.config.log_every) or run.at_its_end:
        return NOTHING
    return int(_sum_over_workers(torch.tensor([float(watch.asked)])).item())


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
