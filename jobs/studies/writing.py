"""Collects the results of studies, and writes them with their document and its plots."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import torch

from flowkd.config import Config
from flowkd.data.manifest import read_manifest
from flowkd.store.store import Store
from flowkd.training.logs.metrics import read_log
from jobs.studies.choices import choose
from jobs.studies.config import PLAIN, StudyConfig
from jobs.studies.document import document
from jobs.studies.folds import facts_of_folds, pool_folds
from jobs.studies.gaps import with_gaps
from jobs.studies.measure import RunFigures, ThroughputRatio
from jobs.studies.outcomes import Outcomes
from jobs.studies.plan import plan
from jobs.studies.plots import gap_plot, study_curves_plot
from jobs.studies.results import Machine, Results
from jobs.studies.summary import run_rows, study_facts, summary_rows

CURVES = (PLAIN, "plain-3x", "fold")  # and the best arm's

# For each study, by name: figures, and ratios to the teacher, by run.
Studies = Sequence[tuple[StudyConfig, Sequence[StudyConfig]]]
Measured = Mapping[str, tuple[Mapping[str, RunFigures], Mapping[str, ThroughputRatio]]]


def collect(studies: Studies, outcomes: Outcomes, measured: Measured, store: Store) -> Results:
    """Returns the results of studies, as far as they are there.

    Args:
        studies: The studies, each with its folds, or with itself alone.
        outcomes: Outcomes of their runs, by name.
        measured: Measurements of the finished runs of each fold, by its name.
        store: Holds runs and data sets.
    """
    runs, summary, facts = [], [], []
    for config, folds in studies:
        lists, own = [], []
        finished: dict[str, list[str]] = defaultdict(list)
        for fold in folds:
            choices = choose(fold, outcomes, store)
            figures, ratios = measured[fold.name]
            lists.append(run_rows(fold, choices, outcomes, figures, ratios))
            for run in plan(fold, choices):
                if run.reported and run.config.name in figures:
                    finished[run.row.arm].append(run.config.name)
            manifest = read_manifest(store, fold.dataset.name)
            own.append(study_facts(fold, choices, outcomes, manifest, lists[-1], {}))
        lines = lists[0]
        if config.folds is not None:
            lines = with_gaps(config, pool_folds(lists, config.name))
        runs += lines
        summary += summary_rows(config, lines)
        arms = dict.fromkeys((*CURVES, config.best))
        curves = {arm: mean_curve(finished[arm], store) for arm in arms if finished[arm]}
        facts.append(facts_of_folds(config, own).model_copy(update={"curves": curves}))
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


def write_document(results: Results, path: Path, command: str, note: str = "") -> None:
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
    path.write_text(document(results, command, images, note), encoding="utf-8")


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
