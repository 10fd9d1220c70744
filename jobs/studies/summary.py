"""The rows of a study's results: figures of each run, and means and spreads of each arm."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean, stdev
from typing import Any

from flowkd.data.groups import groups_of
from flowkd.data.manifest import Manifest
from flowkd.evaluation.intervals import mean_of
from flowkd.flows.build import describe_flow
from jobs.studies.choices import cpu_seconds
from jobs.studies.config import PLAIN, TEACHER, Recipe, StudyConfig
from jobs.studies.gaps import arm_errors, with_gaps
from jobs.studies.measure import RunFigures, ThroughputRatio
from jobs.studies.outcomes import Outcomes
from jobs.studies.plan import Choices, MeasuredFlow, PlannedRun, plan, rows
from jobs.studies.results import RecipeFacts, RunRow, StudyFacts, SummaryRow

Curves = Mapping[str, list[tuple[int, float]]]


def run_rows(
    config: StudyConfig,
    choices: Choices,
    outcomes: Outcomes,
    figures: Mapping[str, RunFigures],
    ratios: Mapping[str, ThroughputRatio],
) -> list[RunRow]:
    """Returns a line for each row of the study whose runs have ended.

    Args:
        config: The study.
        choices: The choices made.
        outcomes: Outcomes by name of the run, as far as they have ended.
        figures: Figures of the finished runs, by name.
        ratios: Throughput of the finished students over the teacher's, by name.
    """
    planned = plan(config, choices)
    spent = cpu_seconds(planned, outcomes)
    found = [
        _run_row(config, run, planned, outcomes, figures, ratios, spent)
        for run in planned
        if run.reported and run.config.name in outcomes
    ]
    order = {row: place for place, row in enumerate(rows(config))}
    found.sort(key=lambda row: order[MeasuredFlow(row.arm, row.teacher_seed, row.student_seed)])
    return with_gaps(config, found)


def summary_rows(config: StudyConfig, lines: Iterable[RunRow]) -> list[SummaryRow]:
    """Returns a line for each arm of the study, the teacher's first."""
    lines = list(lines)
    by_arm: dict[str, list[RunRow]] = defaultdict(list)
    for line in lines:
        by_arm[line.arm].append(line)
    expected: dict[str, int] = defaultdict(int)
    for row in rows(config):
        expected[row.arm] += 1
    about = {TEACHER: "the large flow", **{name: arm.about for name, arm in config.arms.items()}}
    return [
        _summary_row(config, arm, about[arm], by_arm[arm], count).model_copy(
            update=arm_errors(config, arm, lines)
        )
        for arm, count in expected.items()
    ]


def study_facts(
    config: StudyConfig,
    choices: Choices,
    outcomes: Outcomes,
    manifest: Manifest,
    lines: Iterable[RunRow],
    curves: Curves,
) -> StudyFacts:
    """Returns what the document says of a study beside its figures.

    Args:
        config: The study.
        choices: The choices made.
        outcomes: Outcomes by name of the run.
        manifest: Of its data set.
        lines: The rows of its runs.
        curves: Mean validation by arm.
    """
    tried: dict[str, float | None] = {}
    for run in plan(config):
        if run.row.arm == PLAIN:
            end = outcomes.get(run.config.name)
            tried[f"{run.config.train.peak:g}"] = end.validation if end and not end.failed else None
    used = {name: split.rows for name, split in manifest.splits.items()}
    used["train"] = min(used["train"], config.train_rows or used["train"])
    used["val"] = min(used["val"], config.validation_rows)
    return StudyFacts(
        name=config.name,
        title=config.title,
        dataset=config.dataset.name,
        dimensions=math.prod(manifest.event_shape),
        rows=used,
        groups=_groups(config, manifest, lines),
        teacher=_recipe(config.teacher),
        student=_recipe(config.student),
        teacher_seeds=len(config.teacher_seeds),
        student_seeds=len(config.student_seeds),
        learning_rates=tried,
        learning_rate=choices.learning_rate,
        best=config.best,
        targets=config.targets,
        curves={arm: list(curve) for arm, curve in curves.items()},
    )


def _groups(config: StudyConfig, manifest: Manifest, lines: Iterable[RunRow]) -> dict[str, int]:
    """Returns the number of groups by split: held out, of the very rows that were measured."""
    found = {}
    if config.train_rows is None:
        found["train"] = groups_of(manifest.splits["train"])
    for line in lines:
        if line.validation_bits is not None and line.test_bits is not None:
            return {**found, "val": line.validation_bits.groups, "test": line.test_bits.groups}
    return found


def _run_row(
    config: StudyConfig,
    run: PlannedRun,
    planned: list[PlannedRun],
    outcomes: Outcomes,
    figures: Mapping[str, RunFigures],
    ratios: Mapping[str, ThroughputRatio],
    spent: Mapping[MeasuredFlow, float],
) -> RunRow:
    own = [
        part for part in planned if part.row == run.row and (part is run or run.row.arm != PLAIN)
    ]
    train = run.config.train
    line: dict[str, Any] = {
        "study": config.name,
        **run.row._asdict(),
        "steps": sum(part.config.train.steps for part in own),
        "learning_rate": None if train.learning_rate == "find" else train.peak,
        "failed": outcomes[run.config.name].failed,
    }
    found = figures.get(run.config.name)
    if found is not None and not math.isfinite(found.validation.mean + found.test.mean):
        means = f"{found.validation.mean} on validation, {found.test.mean} on test"
        line["failed"] = f"bits/dim is {means}"
    elif found is not None:
        large = _teacher_figures(planned, run, figures)
        share = found.parameters / large.parameters if large else None
        line |= {
            "parameters": found.parameters,
            "parameters_share": share,
            "validation": found.validation.mean,
            "validation_bits": found.validation,
            "test": found.test.mean,
            "test_bits": found.test,
            "test_standard_error": _finite(mean_of(found.test).error),
            "nats": found.nats,
            "cpu_seconds": spent.get(run.row),
        }
    ratio = ratios.get(run.config.name)
    if ratio is not None:
        line |= {"throughput_ratio": ratio.log_prob, "sampling_ratio": ratio.sampling}
    return RunRow.model_validate(line)


def _teacher_figures(
    planned: list[PlannedRun], run: PlannedRun, figures: Mapping[str, RunFigures]
) -> RunFigures | None:
    """Returns a run's own teacher's figures, any teacher's where it has none."""
    for other in planned:
        if other.row.arm == TEACHER and run.row.teacher_seed in (None, other.row.teacher_seed):
            found = figures.get(other.config.name)
            if found is not None:
                return found
    return None


def _summary_row(
    config: StudyConfig, arm: str, about: str, lines: list[RunRow], expected: int
) -> SummaryRow:
    done = [line for line in lines if line.test is not None]
    failed = sum(line.failed is not None for line in lines)

    def values(key: str) -> list[Any]:
        return [value for line in done if (value := getattr(line, key)) is not None]

    def mean(key: str, kind: Callable[[float], Any] = float) -> Any:
        found = values(key)
        return kind(fmean(found)) if found else None

    gaps = values("gap_closed")
    return SummaryRow(
        study=config.name,
        arm=arm,
        about=about,
        plain=arm != TEACHER and config.arms[arm].objective is None,
        runs=len(done),
        failed=failed,
        missing=expected - len(done) - failed,
        steps=mean("steps", round),
        validation=mean("validation"),
        test=mean("test"),
        test_spread=_spread(values("test")),
        nats=mean("nats"),
        gap_closed=mean("gap_closed"),
        gap_spread=_spread(gaps),
        gap_runs=len(gaps),
        reached=sum(gap >= config.targets.gap_closed for gap in gaps),
        parameters=mean("parameters", round),
        parameters_share=mean("parameters_share"),
        throughput_ratio=mean("throughput_ratio"),
        sampling_ratio=mean("sampling_ratio"),
        cpu_seconds=mean("cpu_seconds"),
    )


def _spread(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _recipe(recipe: Recipe) -> RecipeFacts:
    return RecipeFacts(
        flow=describe_flow(recipe.flow), steps=recipe.train.steps, batch_size=recipe.batch_size
    )
