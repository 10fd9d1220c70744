"""The whole main job: data, teacher, two students, comparison, publication, service, report."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from cluster.local import connect
from cluster.serve.config import ServingConfig
from cluster.serve.deployment import deploy
from cluster.storage import StorageConfig
from cluster.train.commit import git_commit
from flowkd.config import Config, load_config
from flowkd.data.groups import describe_rows, groups_of
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.evaluation.compare import EvaluationConfig, FlowFigures, evaluate
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.report.comparison import gap_share
from flowkd.report.from_store import comparison_report
from flowkd.report.page import render
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from jobs.checks import check_job, makes
from jobs.cli.entry import run_job
from jobs.cli.progress import console, stage, train_with_progress, working
from jobs.cli.tables import figures_table
from jobs.importing import import_dataset

ROLES = ("teacher", "plain", "distilled")
ASKED = 16


class QuickstartConfig(Config):
    """Files of the stages, each of which its own job takes too, and where the outcome goes."""

    dataset: Path
    teacher: Path
    plain: Path
    distilled: Path
    evaluate: Path
    publish: Path
    deploy: Path
    results: Path = Path("results/quickstart.json")
    report: Path = Path("report.html")


@dataclass(frozen=True)
class Stages:
    """The configs of the stages."""

    dataset: PrepareConfig
    runs: dict[str, TrainingConfig]
    evaluation: EvaluationConfig
    publication: PublishConfig
    serving: ServingConfig


def read_stages(config: QuickstartConfig) -> Stages:
    """Reads the files of the stages."""
    return Stages(
        dataset=load_config(PrepareConfig, config.dataset),
        runs={role: load_config(TrainingConfig, getattr(config, role)) for role in ROLES},
        evaluation=load_config(EvaluationConfig, config.evaluate),
        publication=load_config(PublishConfig, config.publish),
        serving=load_config(ServingConfig, config.deploy),
    )


def check_quickstart(config: QuickstartConfig, storage: StorageConfig) -> None:
    """Raises FlowkdError for what can be known of each stage before Ray starts."""
    stages = read_stages(config)
    coming: set[str] = set()
    later = (stages.evaluation, stages.publication, stages.serving)
    for settings in (stages.dataset, *stages.runs.values(), *later):
        check_job(settings, storage, coming=coming)
        coming |= makes(settings)


def quickstart(config: QuickstartConfig, storage: StorageConfig) -> None:
    """Train a teacher and two students, compare them, publish and serve the better student."""
    began = time.monotonic()
    store, stages = storage.store(), read_stages(config)
    runs, evaluation, publication = stages.runs, stages.evaluation, stages.publication

    stage("1/7 Ray and data")
    with working("starting a local Ray"):
        connect()
    with working("preparing the data set"):
        manifest = import_dataset(stages.dataset.root, store)
    rows = ", ".join(
        f"{name} {describe_rows(split.rows, groups_of(split))}"
        for name, split in manifest.splits.items()
    )
    console.print(f"  data set {manifest.name}: {manifest.event_shape}, {rows}")
    for number, role in enumerate(ROLES, start=2):
        stage(f"{number}/7 {role.capitalize()}")
        train_with_progress(runs[role], storage)
    stage("5/7 Comparison on the test split")
    with working("likelihood and throughput"):
        figures = evaluate(evaluation, store)
    better = min(("plain", "distilled"), key=lambda role: _validated(store, evaluation, role))
    stage(f"6/7 Publishing and serving the {better} student")
    source = evaluation.flows[better]
    version = publish_run(publication.model_copy(update={"source": source}), store)
    with working("deploying on Ray Serve"):
        endpoint = deploy(stages.serving, storage)
    url = f"{endpoint}/v1/models/{publication.model}"
    asked = _ask(url, store, evaluation)
    console.print(f"  asked over HTTP for {ASKED} samples and the log-likelihood of as many test")
    console.print(f"  rows: {asked['bits_per_dim']:.3f} bits/dim on average")
    stage("7/7 Report")
    seconds = time.monotonic() - began
    model = f"models/{publication.model}@{version}"
    report = comparison_report(
        evaluation,
        store,
        title="flowkd quickstart",
        published=better,
        model=model,
        endpoint=url,
        facts={"commit": git_commit() or "not a checkout", "seconds": f"{seconds:.0f}"},
    )
    config.report.write_text(render(report), encoding="utf-8")
    _write_results(config, figures, seconds, url)
    print()
    figures_table(figures)
    print(f"\nreport   {config.report.resolve()}")
    print(f"model    {model}, in {store}")
    print(f"student  {url}  (interactive: {endpoint}/docs)")
    print(f"took {seconds:.0f} s; the student answers until: make down")


def _validated(store: Store, evaluation: EvaluationConfig, role: str) -> float:
    """Returns a run's validation bits/dim: students are chosen by it, and reported on test."""
    metrics = load_artifact(store, evaluation.flows[role]).metrics
    return float(metrics["validation_bits_per_dim"])


def _ask(url: str, store: Store, evaluation: EvaluationConfig) -> dict[str, Any]:
    """Asks the served student as any user would."""
    rows = load_split(store, read_manifest(store, evaluation.dataset), evaluation.split)
    with httpx.Client(timeout=60) as client:
        samples = client.post(f"{url}/sample", json={"n": ASKED, "seed": 0})
        samples.raise_for_status()
        scores = client.post(f"{url}/log_prob", json={"x": rows.x[:ASKED].tolist()})
        scores.raise_for_status()
    answer = scores.json()
    return {"bits_per_dim": float(np.mean(answer["bits_per_dim"]))}


def _write_results(
    config: QuickstartConfig,
    figures: dict[str, FlowFigures],
    seconds: float,
    url: str,
) -> None:
    config.results.parent.mkdir(parents=True, exist_ok=True)
    closed = gap_share(figures).estimate
    outcome = {
        **{role: asdict(figures[role]) for role in ROLES},
        "gap_closed": closed if math.isfinite(closed) else None,  # JSON has no NaN
        "seconds": seconds,
        "report": str(config.report.resolve()),
        "endpoint": url,
    }
    config.results.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_job(QuickstartConfig, quickstart, check_quickstart)
