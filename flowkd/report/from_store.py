"""The report of a comparison, a run or a model, from what the store holds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import yaml

from flowkd.config import dump_config, parse_config
from flowkd.data.facts import named_values
from flowkd.data.manifest import Manifest, dataset_names, read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import StoreError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.figures import FlowFigures
from flowkd.flows.build import count_parameters
from flowkd.flows.flow import Flow
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.registry.figures import figures_in_words
from flowkd.report.advice import next_steps
from flowkd.report.drawn import table_rows
from flowkd.report.drawn_pictures import drawn_pictures
from flowkd.report.likelihoods import NOISE, bits_of, noise_like
from flowkd.report.page import Report
from flowkd.store.sealed import read_sealed, read_sealed_text
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.logs.metrics import read_log
from flowkd.training.runs import RunState, run_state

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
    values = yaml.safe_load(read_sealed_text(store, *path))
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
    curves = {label: _curves(store, artifact) for label, artifact in artifacts.items()}
    runs = {label: _config(found) for label, found in trainings.items() if found}
    return Report(
        title=title or f"comparison {evaluation.name}",
        figures=figures,
        published=published,
        curves=curves,
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
        **_shown(flows, store, manifest, evaluation.split),
    )


def artifact_report(reference: str, store: Store) -> Report:
    """Returns the report of a single run, finished or not, or of a model.

    Args:
        reference: `runs/RUN`, or `models/NAME@VERSION_OR_ALIAS`.
        store: Holds it, and the data set that it was trained on.

    Raises:
        StoreError: Nothing of that name; the message lists what there is.
        DataError: The data set is no longer there.
    """
    kind, _, name = reference.partition("/")
    state = run_state(store, name) if kind == "runs" else None
    if state is not None and state.state != "finished":
        return _report_so_far(reference, state, store)
    artifact = load_artifact(store, reference)
    lineage, metrics = artifact.manifest.lineage, artifact.metrics
    flow, training = artifact.flow, artifact.config.training
    bits = metrics.get("validation_bits_per_dim")
    known = f"has {bits:.3f} bits per dimension on validation, with" if bits is not None else "has"
    facts = figures_in_words(lineage.model_dump(exclude_none=True))
    scalars = {key: each for key, each in metrics.items() if isinstance(each, int | float)}
    facts |= figures_in_words(scalars)
    shown: dict[str, Any] = {}
    if lineage.dataset is not None and lineage.dataset in dataset_names(store):
        manifest = read_manifest(store, lineage.dataset)
        shown = _shown({reference: flow}, store, manifest, "val")
        facts |= named_values(manifest)
    return Report(
        title=reference,
        headline=f"{reference} {known} {count_parameters(flow):,} parameters.",
        figures={},
        published=None,
        curves={reference: _curves(store, artifact)},
        configs={reference: dump_config(_config(training))} if training else {},
        facts=facts,
        endpoint=None,
        model=reference if kind == "models" else None,
        **shown,
    )


def _report_so_far(reference: str, state: RunState, store: Store) -> Report:
    config = ("runs", state.run, "config.yaml")
    text = store.read(*config).decode() if store.exists(*config) else ""
    bits = state.validation_bits_per_dim
    best = "" if bits is None else f", at best {bits:.3f} bits per dimension on validation"
    return Report(
        title=reference,
        headline=f"{reference} is {state.state}: {state.step:,} steps so far{best}.",
        figures={},
        published=None,
        curves={reference: read_log(store, state.run)},
        configs={reference: text} if text else {},
        facts={},
        endpoint=None,
        model=None,
    )


def _shown(
    flows: Mapping[str, Flow], store: Store, manifest: Manifest, split: str
) -> dict[str, Any]:
    """Returns what flows draw beside held-out rows, as fields of a report."""
    shown: dict[str, Any] = {"likelihoods": _likelihoods(flows, store, manifest, split)}
    if manifest.kind == "table":
        rows = load_split(store, manifest, split, limit=TABLE_ROWS)
        shown["table"] = table_rows(flows, rows, manifest)
    elif manifest.bins is not None:
        rows = load_split(store, manifest, split, limit=_fitting(manifest))
        shown["pictures"] = drawn_pictures(flows, rows, manifest.bins)
    return shown


def _figures(evaluation: EvaluationConfig, store: Store) -> dict[str, FlowFigures]:
    path = ("evaluations", f"{evaluation.name}.json")
    if not store.exists(*path):
        raise StoreError(f"comparison {evaluation.name!r} has no figures in store {store}")
    return {label: FlowFigures.read(found) for label, found in read_sealed(store, *path).items()}


def _curves(store: Store, artifact: Artifact) -> Sequence[Mapping[str, Any]]:
    run = artifact.manifest.lineage.run
    return read_log(store, run) if run else ()


def _config(training: Mapping[str, Any]) -> TrainingConfig:
    return parse_config(TrainingConfig, dict(training), source="a run's config")


def _fitting(manifest: Manifest) -> int:
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
