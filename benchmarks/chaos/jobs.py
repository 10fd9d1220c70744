"""The jobs of the stream: trainings, evaluations, publishing, pipelines, quick commands."""

from __future__ import annotations

from typing import Any

import numpy as np

from cluster.queue.spec import JobSpec
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.evaluation.config import EvaluationConfig
from flowkd.registry.publish import PublishConfig
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.logs.metrics import read_log
from flowkd.training.setup import run_in_process
from jobs.submission import Options, make_spec

CALM = "calm"  # the run that nothing disturbs
TOLERANCE = 1e-5
STEPS = 3000


def furnish(store: Store) -> None:
    """Writes a data set, and trains, undisturbed, the run that all others have to be like."""
    splits = {name: _walks(400, seed) for seed, name in enumerate(("train", "val", "test"))}
    x = splits["train"].x
    write_dataset(
        store, "walks", splits, kind="table", source="random walks", mean=x.mean(0), scale=x.std(0)
    )
    list(run_in_process(training(CALM), store))


def copy_all(source: Store, target: Store) -> None:
    """Copies all objects of a store into another one."""
    root = source.path()
    for path in source.fs.find(root):
        relative = path[len(root) + 1 :]
        target.write(source.read(relative), relative)


def training(name: str) -> TrainingConfig:
    """Returns a training; all of them are the same but for their names."""
    values = {
        "name": name,
        "dataset": "walks",
        "flow": {"kind": "coupling", "depth": 3, "width": 16},
        "train": {"steps": STEPS, "learning_rate": 0.01, "warmup_steps": 5},
        "batch_size": 128,
        "validate_every": 500,
        "checkpoint_every": 300,
        "log_every": 50,
        "scaling": {"run_on": "cluster"},
    }
    return TrainingConfig.model_validate(values)


def train(job: str) -> JobSpec:
    """Returns a training as a job, whose run has its name."""
    return make_spec("train_teacher", training(job), _options(job))


def evaluate(job: str, run: str = CALM, **options: Any) -> JobSpec:
    """Returns an evaluation as a job."""
    config = EvaluationConfig(name=job, flows={run: f"runs/{run}"}, dataset="walks", seconds=0.2)
    return make_spec("evaluate", config, _options(job, **options))


def publish(job: str) -> JobSpec:
    """Returns a job that publishes the undisturbed run, as a model of the job's name."""
    config = PublishConfig(model=job, source=f"runs/{CALM}", force=True)
    return make_spec("publish", config, _options(job))


def pipeline(job: str) -> list[JobSpec]:
    """Returns a training and the evaluation of what it gives."""
    first = train(f"{job}.train")
    return [first, evaluate(f"{job}.evaluate", first.id, depends_on=(first.id,))]


def quick(job: str, seconds: float = 0.5, **changes: Any) -> JobSpec:
    """Returns a job that lives for some seconds."""
    values: dict[str, Any] = {
        "id": job,
        "kind": "quick",
        "config": {"seconds": seconds},
        "retries": {"max_retries": 3, "backoff": 0.2},
    }
    return JobSpec.model_validate(values | changes)


def difference(store: Store, run: str) -> str | None:
    """Returns how a run's steps and losses are not those of the undisturbed one; None for not."""
    found, calm = read_log(store, run), read_log(store, CALM)
    steps, expected = [[line["step"] for line in lines] for lines in (found, calm)]
    if steps != expected:
        return f"{len(steps)} lines of metrics, {len(expected)} in the undisturbed run"
    losses, right = [np.array([line["loss"] for line in lines]) for lines in (found, calm)]
    apart = float(np.abs(losses - right).max())
    if not np.allclose(losses, right, rtol=TOLERANCE, atol=TOLERANCE):
        return f"losses differ by {apart:.2g}"
    return None


def _options(job: str, **options: Any) -> Options:
    retries = {"max_retries": 3, "backoff": 0.2}
    return Options.model_validate({"id": job, "retries": retries, "owner": "chaos", **options})


def _walks(count: int, seed: int) -> SplitArrays:
    generator = np.random.default_rng(seed)
    return SplitArrays(generator.normal(size=(count, 4)).cumsum(1).astype(np.float32) * 3 + 10)
