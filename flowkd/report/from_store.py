"""The report of a comparison, from what the store holds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import yaml

from flowkd.config import dump_config, parse_config
from flowkd.data.facts import named_values
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import StoreError
from flowkd.evaluation.compare import EvaluationConfig, FlowFigures
from flowkd.flows.flow import Flow
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.report.advice import next_steps
from flowkd.report.drawn import table_rows
from flowkd.report.drawn_pictures import DrawnPictures, drawn_pictures
from flowkd.report.likelihoods import NOISE, bits_of, noise_like
from flowkd.report.page import Report
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.metrics_log import read_log

TABLE_ROWS = 4000
ROWS = 1000  # of a split, for likelihoods
PICTURES, FEWEST = 64, 9
PICTURE_PIXELS = 16_384  # of all pictures of a grid together


def read_comparison(store: Store, name: str) -> EvaluationConfig:
    """Returns what a comparison compared, by its name.

    Raises:
        StoreError: No such comparison; the message lists those there are.
    """
    path = ("evaluations", f"{name}.yaml")
    if not store.exists(*path):
        kept = store.list("evaluations")
        known = [each.removesuffix(".yaml") for each in kept if each.endswith(".yaml")]
        raise StoreError(
            f"no comparison {name!r} in store {store}; there are {', '.join(known) or 'none'}: "
            f"`python -m jobs.evaluate --config FILE` makes one"
        )
    values = yaml.safe_load(store.read(*path))
    return parse_config(EvaluationConfig, values, source=f"comparison {name!r}")


def comparison_report(
    evaluation: EvaluationConfig,
    store: Store,
    *,
    title: str | None = None,
    published: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> Report:
    """Returns the report of a comparison that was made: figures, curves, and what flows draw.

    Args:
        evaluation: What was compared; its figures are in the store.
        store: Holds the figures, the flows, their runs and the data set.
        title: Of the page; default the comparison's name.
        published: Label of the flow that is published, if one is.
        model: Reference that it is published under.
        endpoint: Address of the served model.
        facts: What else the page says of where its figures come from.

    Raises:
        StoreError: The comparison was not made, or a flow is no longer there.
        DataError: The data set is no longer there.
    """
    figures = _figures(evaluation, store)
    manifest = read_manifest(store, evaluation.dataset)
    artifacts = {label: load_artifact(store, where) for label, where in evaluation.flows.items()}
    flows = {label: artifact.flow for label, artifact in artifacts.items()}
    trainings = {label: artifact.config.training for label, artifact in artifacts.items()}
    table, pictures = None, DrawnPictures()
    if manifest.kind == "table":
        rows = load_split(store, manifest, evaluation.split, limit=TABLE_ROWS)
        table = table_rows(flows, rows, manifest)
    elif manifest.bins is not None:
        rows = load_split(store, manifest, evaluation.split, limit=_shown(manifest))
        pictures = drawn_pictures(flows, rows, manifest.bins)
    curves = {label: _curves(store, artifact) for label, artifact in artifacts.items()}
    runs = {label: _config(found) for label, found in trainings.items() if found}
    return Report(
        title=title or f"comparison {evaluation.name}",
        figures=figures,
        published=published,
        curves=curves,
        pictures=pictures,
        likelihoods=_likelihoods(flows, store, manifest, evaluation.split),
        configs={label: dump_config(run) for label, run in runs.items()},
        advice=next_steps(figures, curves, runs.get("distilled")),
        facts={
            "data set": evaluation.dataset,
            "split": evaluation.split,
            **named_values(manifest),
            **({"remarks": " ".join(manifest.remarks)} if manifest.remarks else {}),
            "torch": torch.__version__,
            **(facts or {}),
        },
        endpoint=endpoint,
        model=model,
        table=table,
    )


def _figures(evaluation: EvaluationConfig, store: Store) -> dict[str, FlowFigures]:
    path = ("evaluations", f"{evaluation.name}.json")
    if not store.exists(*path):
        raise StoreError(f"comparison {evaluation.name!r} has no figures in store {store}")
    return {label: FlowFigures.read(found) for label, found in store.read_json(*path).items()}


def _curves(store: Store, artifact: Artifact) -> Sequence[Mapping[str, Any]]:
    run = artifact.manifest.lineage.run
    return read_log(store, run) if run else ()


def _config(training: Mapping[str, Any]) -> TrainingConfig:
    return parse_config(TrainingConfig, dict(training), source="a run's config")


def _shown(manifest: Manifest) -> int:
    """Returns how many pictures a page shows of each flow."""
    pixels = manifest.event_shape[-1] * manifest.event_shape[-2]
    return min(PICTURES, max(FEWEST, PICTURE_PIXELS // pixels))


def _likelihoods(
    flows: Mapping[str, Flow], store: Store, manifest: Manifest, split: str
) -> dict[str, dict[str, np.ndarray]]:
    """Returns bits per dimension by flow, of rows learnt from, of held-out rows and of noise."""
    rows = {name: load_split(store, manifest, name, limit=ROWS) for name in ("train", split)}
    rows[NOISE] = noise_like(rows[split], manifest.bins)
    return {
        label: {what: bits_of(flow, some, manifest.bins) for what, some in rows.items()}
        for label, flow in flows.items()
    }
