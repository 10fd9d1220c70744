"""The page of a study: what its arms gained, as a picture, a table and sentences."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from flowkd.report.curves import Curve, curves_plot
from flowkd.report.html import marked, render_page
from flowkd.report.style import svg_plot
from flowkd.store.store import Store
from jobs.studies.config import PLAIN, TEACHER
from jobs.studies.document import (
    HOW,
    READING,
    arm_cells,
    few_rows,
    setting,
)
from jobs.studies.plots import PAGE_LOOK, arms_with_gap, draw_gaps
from jobs.studies.results import Results, StudyFacts
from jobs.studies.stored import read_results, study_config
from jobs.studies.verdict import shortfalls, study_headline, verdicts

ROW = 22  # CSS pixels of an arm in the plot


class _Arm(NamedTuple):
    name: str
    about: str
    best: bool
    cells: list[tuple[str, str]]


def study_page(store: Store, name: str) -> str:
    """Returns the page of a study as its last call measured it; equal results, equal pages.

    Raises:
        ConfigError: No such study, or none that was measured.
    """
    return render_study(read_results(store, name), study_config(store, name))


def render_study(results: Results, config: str = "") -> str:
    """Returns the page of a single study's results.

    Args:
        results: Of one study.
        config: Its config as YAML; default unknown.
    """
    [study] = results.studies
    arms = arms_with_gap(results, study)
    machine = results.machine
    return render_page(
        Path(__file__).with_name("report.html"),
        title=f"study {study.name}: {study.title}",
        headline=marked(study_headline(results, study)),
        gaps=_gaps(results, study, arms),
        arms=_arms(results, study),
        verdicts=[marked(each) for each in verdicts(results, study)],
        missing=[marked(each) for each in shortfalls(results, study)],
        few=[marked(each) for each in few_rows(study)],
        curves=_curves(results, study),
        setting=marked(setting(study, results.of(study.name))),
        how=marked(HOW),
        reading=marked(READING),
        facts={
            "measured": f"{machine.date}, torch {machine.torch}",
            "on": f"{machine.cpu}, {machine.threads} thread for each training",
        },
        config=config,
    )


def _gaps(results: Results, study: StudyFacts, arms: list[str]) -> Markup | None:
    if not arms:
        return None
    summary = results.of(study.name)
    told = ", ".join(f"{arm} {summary[arm].gap_closed or 0.0:.0%}" for arm in arms)
    svg = svg_plot(
        lambda axes: draw_gaps(axes, results, study, arms, PAGE_LOOK),
        name="gap",
        description=f"Share of the gap closed: {told}",
        height=44 + ROW * len(arms),
    )
    return Markup(svg)


def _arms(results: Results, study: StudyFacts) -> list[_Arm]:
    summary = results.of(study.name)
    plain = summary.get(PLAIN)
    return [
        _Arm(arm, row.about, arm == study.best, arm_cells(row, plain))
        for arm, row in summary.items()
    ]


def _curves(results: Results, study: StudyFacts) -> Markup | None:
    curves: dict[str, Curve] = {arm: list(curve) for arm, curve in study.curves.items() if curve}
    if not curves:
        return None
    teacher = results.of(study.name).get(TEACHER)
    if teacher is not None and teacher.validation is not None:
        last = max(curve[-1][0] for curve in curves.values())
        curves = {TEACHER: [(0, teacher.validation), (last, teacher.validation)], **curves}
    description = "Mean bits per dimension on validation against the training step, by arm"
    return Markup(curves_plot(curves, name="curves", description=description))
