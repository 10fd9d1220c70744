"""The measurements of a study's finished runs, each made once and then kept in the store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.data.rows import Examples
from flowkd.evaluation.intervals import GroupBits
from flowkd.evaluation.metrics import evaluate_likelihood, rows_for
from flowkd.evaluation.throughput import log_prob_per_second, samples_per_second
from flowkd.flows.build import count_parameters
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.store.sealed import read_sealed, write_sealed
from flowkd.store.store import Store
from jobs.studies.config import StudyConfig

BATCH = 256


@dataclass(frozen=True)
class RunFigures:
    """Likelihood and size of a run's result.

    Attributes:
        created: When the run's result was written, ISO 8601.
        parameters: Number of trainable values.
        validation: Bits per dimension, by group, on the validation rows that the study uses.
        test: Bits per dimension, by group, on the whole test split.
        nats: Mean log-likelihood of a test row, in nats.
    """

    created: str
    parameters: int
    validation: GroupBits
    test: GroupBits
    nats: float

    @classmethod
    def read(cls, values: dict[str, Any]) -> RunFigures:
        """Returns what `asdict` made of them."""
        bits = {key: GroupBits.read(values[key]) for key in ("validation", "test")}
        return cls(**{**values, **bits})


@dataclass(frozen=True)
class ThroughputRatio:
    """A student's rows per second over its teacher's, both in their form for inference.

    Attributes:
        log_prob: Ratio of the rows whose log_prob is computed.
        sampling: Ratio of the rows that are sampled.
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
        known = RunFigures.read(read_sealed(store, *path))
        if known.created == artifact.manifest.created:
            return known
    manifest = read_manifest(store, config.dataset.name)
    judged = load_split(store, manifest, "val", limit=config.validation_rows)
    held_out = load_split(store, manifest, "test")
    validation, test = (
        evaluate_likelihood(artifact.flow, rows_for(artifact.flow, rows), manifest.bins)
        for rows in (judged, held_out)
    )
    figures = RunFigures(
        created=artifact.manifest.created,
        parameters=count_parameters(artifact.flow),
        validation=validation.by_group,
        test=test.by_group,
        nats=test.nats,
    )
    write_sealed(store, asdict(figures), *path)
    return figures


def throughput_ratio(
    config: StudyConfig, teacher: str, student: str, store: Store
) -> ThroughputRatio:
    """Returns how fast a finished run is beside its teacher, measured once for a pair of shapes.

    Batches of 256 rows, one thread. Call it while nothing else runs.

    Raises:
        StoreError: No finished run of one of these names.
    """
    artifacts = {"teacher": load_artifact(store, f"runs/{teacher}")}
    artifacts["student"] = load_artifact(store, f"runs/{student}")
    shapes = {role: each.config.flow.model_dump(mode="json") for role, each in artifacts.items()}
    key = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]
    path = ("studies", config.name, "throughput", f"{key}.json")
    if store.exists(*path):
        return ThroughputRatio(**read_sealed(store, *path)["ratio"])
    rows = load_split(store, read_manifest(store, config.dataset.name), "val", limit=BATCH)
    bins = read_manifest(store, config.dataset.name).bins
    ratio = _ratio(artifacts, rows, bins, config.throughput_seconds)
    write_sealed(store, {"ratio": asdict(ratio), **shapes}, *path)
    return ratio


def _ratio(
    artifacts: dict[str, Artifact], rows: Examples, bins: int | None, seconds: float
) -> ThroughputRatio:
    flows = {role: artifact.flow for role, artifact in artifacts.items()}
    rates = [
        measure(flows, rows, bins, batch_size=BATCH, seconds=seconds)
        for measure in (log_prob_per_second, samples_per_second)
    ]
    return ThroughputRatio(*(rate["student"] / rate["teacher"] for rate in rates))
