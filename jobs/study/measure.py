"""What is measured of a study's finished runs; each figure once, then kept in the store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import calls_per_second, evaluate_likelihood
from flowkd.flows.build import count_parameters
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.store.store import Store
from jobs.study.config import StudyConfig

BATCH = 256


@dataclass(frozen=True)
class RunFigures:
    """Likelihood and size of a run's result.

    Attributes:
        created: When that result was written.
        parameters: Number of trainable values.
        validation: Bits per dimension on the validation rows that the study uses.
        test: Bits per dimension on the whole test split.
        test_standard_error: Of that mean.
        nats: Mean log-likelihood of a test row, in nats.
    """

    created: str
    parameters: int
    validation: float
    test: float
    test_standard_error: float
    nats: float


@dataclass(frozen=True)
class Throughput:
    """A student's calls per second over its teacher's, batch 256, one thread, interleaved.

    Both flows are in the form that they are served in, that of `for_inference`.
    """

    log_prob: float
    sampling: float


def run_figures(config: StudyConfig, run: str, store: Store) -> RunFigures:
    """Returns a finished run's figures; the test split is read the first time only.

    Raises:
        StoreError: No finished run of this name.
    """
    path = ("studies", config.name, "figures", f"{run}.json")
    artifact = load_artifact(store, f"runs/{run}")
    if store.exists(*path):
        known = RunFigures(**store.read_json(*path))
        if known.created == artifact.manifest.created:
            return known
    manifest = read_manifest(store, config.dataset.name)
    judged = load_split(store, manifest, "val", limit=config.validation_rows)
    held_out = load_split(store, manifest, "test")
    validation, test = (
        evaluate_likelihood(artifact.flow, _seen(artifact.flow, rows), manifest.bins)
        for rows in (judged, held_out)
    )
    figures = RunFigures(
        created=artifact.manifest.created,
        parameters=count_parameters(artifact.flow),
        validation=validation.bits_per_dim,
        test=test.bits_per_dim,
        test_standard_error=test.standard_error,
        nats=test.nats,
    )
    store.write_json(asdict(figures), *path)
    return figures


def throughput(config: StudyConfig, teacher: str, student: str, store: Store) -> Throughput:
    """Returns how fast a finished run is beside its teacher, measured once for a pair of shapes.

    Figures of an earlier version, which took the flows as they are trained, are not read.

    Call it while nothing else runs.

    Raises:
        StoreError: No finished run of one of these names.
    """
    artifacts = {"teacher": load_artifact(store, f"runs/{teacher}")}
    artifacts["student"] = load_artifact(store, f"runs/{student}")
    shapes = {role: each.config.flow.model_dump(mode="json") for role, each in artifacts.items()}
    key = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]
    path = ("studies", config.name, "throughput", "inference", f"{key}.json")
    if store.exists(*path):
        return Throughput(**store.read_json(*path)["ratio"])
    rows = load_split(store, read_manifest(store, config.dataset.name), "val", limit=BATCH)
    bins = read_manifest(store, config.dataset.name).bins
    ratio = _measure(artifacts, rows, bins, config.throughput_seconds)
    store.write_json({"ratio": asdict(ratio), **shapes}, *path)
    return ratio


@torch.no_grad()
def _measure(
    artifacts: dict[str, Artifact], rows: Examples, bins: int | None, seconds: float
) -> Throughput:
    score: dict[str, Any] = {}
    draw: dict[str, Any] = {}
    for role, artifact in artifacts.items():
        flow = for_inference(artifact.flow)
        batch = next(evaluation_batches(_seen(flow, rows), bins, BATCH, seed=0))
        z = flow(batch.x, batch.context).z
        score[role] = lambda flow=flow, batch=batch: flow.log_prob(batch.x, batch.context)
        draw[role] = lambda flow=flow, batch=batch, z=z: flow.inverse(z, batch.context)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rates = [calls_per_second(calls, seconds=seconds) for calls in (score, draw)]
    finally:
        torch.set_num_threads(threads)
    return Throughput(*(rate["student"] / rate["teacher"] for rate in rates))


def _seen(flow: Flow, rows: Examples) -> Examples:
    return rows if flow.context.width else replace(rows, context=None)
