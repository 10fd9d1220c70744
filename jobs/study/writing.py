"""Collects the results of studies, and writes them with their document and its plots."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import torch

from flowkd.config import Config
from flowkd.data.manifest import read_manifest
from flowkd.store.store import Store
from flowkd.training.metrics_log import read_log
from jobs.study.choices import choose
from jobs.study.config import PLAIN, StudyConfig
from jobs.study.document import document
from jobs.study.measure import RunFigures, ThroughputRatio
from jobs.study.outcomes import Outcomes
from jobs.study.plan import plan
from jobs.study.plots import gap_plot, study_curves_plot
from jobs.study.results import Machine, Results
from jobs.study.summary import run_rows, study_facts, summary_rows

CURVES = (PLAIN, "plain-3x", "fold")  # and the best arm's

# For each study, by name: figures, and ratios to the teacher, by run.
Measured = Mapping[str, tuple[Mapping[str, RunFigures], Mapping[str, ThroughputRatio]]]


def collect(
    configs: list[StudyConfig], outcomes: Outcomes, measured: Measured, store: Store
) -> Results:
    """Returns the results of studies, as far as they are there.

    Args:
        configs: The studies.
        outcomes: Outcomes of their runs, by name.
        measured: Measurements of their finished runs.
        store: Holds runs and data sets.
    """
    runs, summary, facts = [], [], []
    for config in configs:
        choices = choose(config, outcomes, store)
        figures, ratios = measured[config.name]
        lines = run_rows(config, choices, outcomes, figures, ratios)
        runs += lines
        summary += summary_rows(config, lines)
        finished: dict[str, list[str]] = defaultdict(list)
        for run in plan(config, choices):
            if run.reported and run.config.name in figures:
                finished[run.row.arm].append(run.config.name)
        curves = {
            arm: mean_curve(finished[arm], store)
            for arm in dict.fromkeys((*CURVES, config.best))
            if finished[arm]
        }
        manifest = read_manifest(store, config.dataset.name)
        facts.append(study_facts(config, choices, outcomes, manifest, curves))
    return Results(runs=runs, summary=summary, studies=facts, machine=this_machine())


def mean_curve(runs: list[str], store: Store) -> list[tuple[int, float]]:
    """Returns (step, mean validation bits per dimension) over runs, where all were validated."""
    values: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        for record in read_log(store, run):
            if "validation_bits_per_dim" in record:
                values[record["step"]].append(record["validation_bits_per_dim"])
    return [(step, fmean(found)) for step, found in values.items() if len(found) == len(runs)]


def write_results(results: Config, path: Path) -> None:
    """Writes results as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results.model_dump(mode="json"), indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def write_document(results: Results, path: Path, command: str) -> None:
    """Writes the document, and its plots beside it, named after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images: dict[str, list[str]] = {}
    plots: dict[str, Callable[..., bytes]] = {"gap": gap_plot, "curves": study_curves_plot}
    for study in results.studies:
        drawn = {
            "gap": any(row.gap_closed is not None for row in results.of(study.name).values()),
            "curves": any(study.curves.values()),
        }
        images[study.name] = []
        for kind, plot in plots.items():
            if drawn[kind]:
                image = f"{path.stem}-{study.name}-{kind}.png"
                (path.parent / image).write_bytes(plot(results, study))
                images[study.name].append(image)
    path.write_text(document(results, command, images), encoding="utf-8")


def this_machine() -> Machine:
    """Returns what this process runs on; trainings of a study have one thread each."""
    return Machine(torch=torch.__version__, cpu=_cpu(), date=f"{datetime.now(UTC):%Y-%m-%d}")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
