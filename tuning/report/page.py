"""The page of a search, report.html, and what is written beside it."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from flowkd.bijectors import Tap
from flowkd.data.facts import named_values
from flowkd.data.manifest import read_manifest
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.flow import Flow
from flowkd.registry.artifacts import load_artifact
from flowkd.report.advice import SEARCH, next_steps
from flowkd.report.comparison import in_order
from flowkd.report.html import marked, render_page
from flowkd.report.page import comparison_values
from flowkd.store.store import Store
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.config import TrainingConfig
from tuning.config import SearchConfig
from tuning.hint_pairs import hint_taps
from tuning.records import SearchRecords, Trial, ranked
from tuning.report.axes import Axis, axes_of, without_switches
from tuning.report.choices_plot import CROWD, LEADERS, RAMP, choices_plot, fifths
from tuning.report.hint_map import hint_map
from tuning.report.importance import BEST, FEWEST, importances
from tuning.report.plots import MAX_BARS, FrontPoint, front_plot, history_plot, importance_plot
from tuning.report.rows import best_and_baselines, failures, row_of, standings
from tuning.report.summary import figures_of, search_facts, search_headline
from tuning.report.tables import curves_parquet, trials_parquet
from tuning.status import no_search

MAPS, FAILURES = 3, 12


class _Plot(NamedTuple):
    caption: str
    svg: Markup


class _Fifth(NamedTuple):
    """A fifth of the trials: its number, 1 the best, and its range of bits per dimension."""

    number: int
    bits: str


def write_report(
    config: SearchConfig,
    records: SearchRecords,
    trials: list[Trial],
    outcome: dict[str, Any] | None,
) -> None:
    """Writes `report.html`, `trials.parquet` and `curves.parquet` of a search, ended or not.

    Args:
        config: The search.
        records: Its records, in the store of its teacher and its data set.
        trials: All trials of the search.
        outcome: As `conclude` returns it, or None.

    Raises:
        StoreError: The teacher is no longer there.
        DataError: The data set is no longer there.
    """
    store, folder = records.store, records.folder
    store.write(trials_parquet(trials), folder, "trials.parquet")
    store.write(curves_parquet(trials), folder, "curves.parquet")
    page = render_search(config, store, trials, outcome)
    store.write(page.encode(), folder, "report.html")


def search_page(store: Store, name: str) -> str:
    """Returns the page of a search as far as it is.

    Raises:
        ConfigError: No such search.
        StoreError: Its teacher is no longer there, or was trained anew since.
    """
    records = SearchRecords(store, name)
    config = records.config()
    if config is None:
        raise no_search(store, name)
    outcome = records.read("outcome.json")
    return render_search(records.pin(config), store, records.trials(), outcome)


def render_search(
    config: SearchConfig, store: Store, trials: list[Trial], outcome: dict[str, Any] | None
) -> str:
    """Returns the page; equal searches give equal pages."""
    artifact = load_artifact(store, config.teacher)
    teacher = artifact.flow
    size = count_parameters(teacher)
    # A baseline that is no point of the space has chosen nothing.
    drawn = [trial for trial in trials if trial.start.role is None or trial.start.params]
    axes = axes_of(drawn, config.space)
    bits = [trial.bits_per_dim for trial in drawn]
    figures = in_order(figures_of(outcome)) if outcome else None
    published = "distilled" if outcome and outcome["published"] else None
    return render_page(
        Path(__file__).with_name("report.html"),
        title=f"search {config.name}",
        headline=search_headline(config, trials, outcome, size),
        facts={**search_facts(config, trials), **named_values(artifact.manifest.data)},
        standings=standings(trials, size),
        history=Markup(history_plot(trials)) if ranked(trials) else None,
        choices=_choices(axes, bits),
        fifths=_fifths(bits),
        crowded=sum(map(math.isfinite, bits)) > CROWD,
        leaders=LEADERS,
        places=any(axis.name.startswith("place.") for axis in axes),
        importance=_importance(axes, bits),
        fewest=FEWEST,
        maps=_maps(config, store, teacher, trials),
        front=_front(trials),
        rows=[row_of(trial, size) for trial in best_and_baselines(trials)],
        failed=failures(trials)[:FAILURES],
        more_failed=len(failures(trials)[FAILURES:]),
        advice=[marked(words) for words in next_steps(figures or {}) if SEARCH not in words],
        compared=comparison_values(figures, published) if figures else None,
    )


def _choices(axes: list[Axis], bits: list[float]) -> Markup | None:
    shown = without_switches(axes)
    return Markup(choices_plot(shown, bits)) if shown and _fifths(bits) else None


def _fifths(bits: list[float]) -> list[_Fifth]:
    groups: dict[int, list[float]] = {}
    for value, group in zip(bits, fifths(bits), strict=True):
        if group is not None:
            groups.setdefault(group, []).append(value)
    return [
        _Fifth(group + 1, _range(groups[group])) for group in range(len(RAMP)) if group in groups
    ]


def _range(bits: list[float]) -> str:
    low, high = (f"{value:.3f}" for value in (min(bits), max(bits)))
    return low if low == high else f"{low} to {high}"


def _importance(axes: list[Axis], bits: list[float]) -> _Plot | None:
    found = importances(axes, bits)
    if not found:
        return None
    fewest, most = min(each.trials for each in found), max(each.trials for each in found)
    rests = f"{most}" if fewest == most else f"{fewest} to {most}"
    first = (
        f" The {MAX_BARS} most important of {len(found)} are shown."
        if len(found) > MAX_BARS
        else ""
    )
    caption = (
        f"A bar is long if the best {BEST:.0%} of the trials chose otherwise than all of them did "
        f"(PED-ANOVA, as a share of the sum). It rests on {rests} trials: those that chose the "
        f"parameter and did not fail; those stopped early count by what they had reached. By "
        f"chance nine of ten bars end before the upright mark: one that does not reach it may "
        f"decide nothing, or was nearly always chosen alike.{first}"
    )
    return _Plot(caption, Markup(importance_plot(found)))


def _maps(config: SearchConfig, store: Store, teacher: Flow, trials: list[Trial]) -> list[_Plot]:
    space = config.space.hints
    if space is None or not ranked(trials):
        return []
    manifest = read_manifest(store, config.dataset)

    @cache
    def taps_of(flow: Any) -> dict[str, Tap]:
        return build_flow(complete_flow(flow, manifest)).taps

    plots = []
    for trial in [each for each in ranked(trials) if each.start.role is None][:MAPS]:
        run = TrainingConfig.model_validate(trial.start.training)
        hints = run.distillation.hints if run.distillation is not None else ()
        ours, theirs = taps_of(run.flow), teacher.taps
        mine = {*hint_taps(space.student, ours), *(hint.student for hint in hints)}
        others = {*hint_taps(space.teacher, theirs), *(hint.teacher for hint in hints)}
        svg = hint_map(
            f"hints-{trial.start.number}",
            {tap: theirs[tap] for tap in theirs if tap in others},
            {tap: ours[tap] for tap in ours if tap in mine},
            hints,
        )
        count = f"{len(hints)} hints" if len(hints) != 1 else "1 hint"
        caption = f"trial {trial.start.number}: {trial.bits_per_dim:.3f} bits/dim, {count}"
        plots.append(_Plot(caption, Markup(svg)))
    return plots


def _front(trials: list[Trial]) -> _Plot | None:
    finished = [trial for trial in ranked(trials) if trial.state == "finished"]
    if not finished:
        return None
    faster = all(trial.start.throughput is not None for trial in finished)
    points = [
        FrontPoint(
            trial.start.number,
            trial.bits_per_dim,
            -(trial.start.throughput or 0.0) if faster else trial.start.parameter_count,
            trial.start.role,
        )
        for trial in finished
    ]
    than = "as fast" if faster else "as small"
    caption = (
        f"Each finished trial; lower is better, and further to the {'right' if faster else 'left'} "
        f"is {'faster' if faster else 'smaller'}. No other trial is both as good and {than} as one "
        f"that is not beaten. A triangle at the upper edge is a trial beyond it."
    )
    return _Plot(caption, Markup(front_plot(points, faster=faster)))
