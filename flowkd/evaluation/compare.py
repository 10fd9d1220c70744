"""Flows beside each other on held-out data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from flowkd.config import dump_config
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.facts import DataFacts
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.data.reading import load_split
from flowkd.data.rows import Examples
from flowkd.errors import ConfigError, NonFiniteError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.divergence import (
    Divergence,
    DivergenceConfig,
    comparable,
    measure_divergence,
)
from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.intervals import GroupBits, mean_of
from flowkd.evaluation.kept import keep_figures, place_of
from flowkd.evaluation.metrics import evaluate_likelihood, rows_for
from flowkd.evaluation.quality.measure import Quality, QualityConfig, measure_quality
from flowkd.evaluation.served import Forms, Served
from flowkd.evaluation.throughput import log_prob_per_second, samples_per_second
from flowkd.flows.autoregressive import decoded_by_jacobi
from flowkd.flows.context import ContextSpec
from flowkd.flows.flow import Flow
from flowkd.flows.in_words import family_of, passes_of
from flowkd.flows.inference import for_inference
from flowkd.flows.round_trip import served_round_trip_error
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.store.lease import Token, take
from flowkd.store.lease_keeper import LeaseKeeper
from flowkd.store.store import Store


def evaluate(
    config: EvaluationConfig,
    store: Store,
    check: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, FlowFigures]:
    """Compares flows on one split, and on validation, and writes the figures to the store.

    Args:
        config: What to compare.
        store: Holds flows and data set, and is written to.
        check: Called once this process holds the evaluation; raises FencedError where the caller
            may not go on. Default nothing.
        tell: Called with what was chosen where the config leaves it open, in words.

    Raises:
        ConfigError: A flow of another event shape, or another context, than the data set's.
        NonFiniteError: A likelihood that is NaN or infinite.
        HeldError: Another process makes this evaluation.
        FencedError: Another process has taken it over, because this one stood still.
    """
    manifest = read_manifest(store, config.dataset)
    artifacts = {label: load_artifact(store, where) for label, where in config.flows.items()}
    for label, artifact in artifacts.items():
        if artifact.flow.event_shape != tuple(manifest.event_shape):
            raise ConfigError(
                f"flows.{label}: expected event_shape {tuple(manifest.event_shape)} of data set "
                f"{manifest.name!r}; got {artifact.flow.event_shape}"
            )
        _check_context(label, artifact, manifest)
    token = take(store, place_of(config.name))
    assert isinstance(token, Token)  # an evaluation is never done for good
    with LeaseKeeper(token):
        check()
        figures = _compare(config, store, manifest, artifacts, tell)
        values = {label: asdict(value) for label, value in figures.items()}
        keep_figures(token, dump_config(config), values)
    return figures


def _compare(
    config: EvaluationConfig,
    store: Store,
    manifest: Manifest,
    artifacts: dict[str, Artifact],
    tell: Callable[[str], None],
) -> dict[str, FlowFigures]:
    rows = load_split(store, manifest, config.split, limit=config.rows)
    judged = None
    if config.split != "val":
        judged = load_split(store, manifest, "val", limit=config.rows)
    forms = Forms(config.engine, config.precision, config.batch_size, config.threads)
    served = {
        label: forms.of(artifact.flow, rows, manifest.bins, store)
        for label, artifact in artifacts.items()
    }
    for label, form in served.items():
        if form.found is not None:
            tell(f"{label}: {form.found}")
    flows = {label: form.flow for label, form in served.items()}
    iterated = {
        _by_jacobi(label): for_inference(fixed, config.engine)
        for label, artifact in artifacts.items()
        if (fixed := decoded_by_jacobi(artifact.flow)) is not None
    }
    # All ways to draw samples have their turn in the same rounds.
    log_probs, samples = (
        measure(
            timed,
            rows,
            manifest.bins,
            batch_size=config.batch_size,
            seconds=config.seconds,
            threads=config.threads,
        )
        for measure, timed in (
            (log_prob_per_second, flows),
            (
                samples_per_second,
                flows | iterated,
            ),
        )
    )
    return {
        label: replace(
            _figures(
                label,
                artifact,
                served[label],
                rows,
                manifest.bins,
                (log_probs[label], samples[label]),
            ),
            split=config.split,
            validation=None
            if judged is None
            else _bits(label, served[label].judged, judged, manifest.bins),
            quality=_quality(flows[label], rows, manifest, config.quality),
            divergence=_divergence(label, flows, rows, config.divergence),
            jacobi_per_second=samples.get(_by_jacobi(label)),
        )
        for label, artifact in artifacts.items()
    }


def _by_jacobi(label: str) -> str:
    return f"{label}, by jacobi"


def _check_context(label: str, artifact: Artifact, manifest: Manifest) -> None:
    """Raises ConfigError for a flow of another context than the data's, unless it has none."""
    wanted = artifact.flow.context
    have = ContextSpec(classes=manifest.classes or 0, size=manifest.context_size or 0)
    data = DataFacts.of(manifest)
    found = artifact.manifest.data.contradicts(data if wanted.width else data.without_context())
    if wanted.width and wanted != have:
        found = f"context, {wanted}; got {have}"
    if found:
        raise ConfigError(
            f"flows.{label}: expected data of the flow's {found} of data set {manifest.name!r}: "
            f"evaluate it on a data set like the one that it was trained on"
        )


def _figures(
    label: str,
    artifact: Artifact,
    served: Served,
    rows: Examples,
    bins: int | None,
    rates: tuple[float, float],
) -> FlowFigures:
    flow = artifact.flow
    by_group = _bits(label, served.judged, rows, bins)
    first = next(evaluation_batches(rows_for(flow, rows), bins, 256, seed=0))
    return FlowFigures(
        reference=artifact.pinned,
        bits_per_dim=by_group.mean,
        standard_error=mean_of(by_group).error,
        parameters=sum(parameter.numel() for parameter in flow.parameters()),
        log_prob_per_second=rates[0],
        samples_per_second=rates[1],
        steps=int(artifact.metrics.get("steps", 0)),
        created=artifact.manifest.created,
        round_trip=served_round_trip_error(flow, first.x, first.context),
        family=family_of(flow),
        passes=passes_of(flow),
        by_group=by_group,
        precision=served.precision,
        engine=served.engine,
        chosen=None if served.found is None else str(served.found),
    )


def _quality(
    flow: Flow, rows: Examples, manifest: Manifest, config: QualityConfig | None
) -> Quality | None:
    if config is None:
        return None
    return measure_quality(
        flow,
        rows,
        config,
        bins=manifest.bins,
        steps=manifest.steps,
        names=manifest.columns,
    )


def _divergence(
    label: str, flows: Mapping[str, Flow], rows: Examples, config: DivergenceConfig | None
) -> Divergence | None:
    first = next(iter(flows))
    if config is None or label == first or not comparable(flows[label], flows[first]):
        return None
    return measure_divergence(flows[label], flows[first], rows, config)


def _bits(label: str, flow: Flow, rows: Examples, bins: int | None) -> GroupBits:
    found = evaluate_likelihood(flow, rows_for(flow, rows), bins)
    if not math.isfinite(found.bits_per_dim):
        raise NonFiniteError(f"flow {label!r}: bits/dim is {found.bits_per_dim}")
    return found.by_group
