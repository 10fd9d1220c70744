"""Cross-validation of a study: a study of each fold, and their rows put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flowkd.data.importers.fold import FoldConfig, content_of
from flowkd.data.importers.prepare import prepare
from flowkd.evaluation.intervals import GroupBits, mean_of
from flowkd.store.store import Store
from jobs.studies.config import StudyConfig
from jobs.studies.results import RunRow, StudyFacts


def prepare_folds(config: StudyConfig, store: Store) -> list[StudyConfig]:
    """Prepares a study's data sets, and returns a study of each fold; the study itself without.

    Raises:
        DataError: As the importers say; fewer groups than folds.
    """
    manifest = prepare(config.dataset, store)
    if config.folds is None:
        return [config]
    found = []
    for number in range(config.folds):
        dataset = FoldConfig(
            name=f"{config.dataset.name}-f{number}of{config.folds}",
            source=config.dataset.name,
            folds=config.folds,
            fold=number,
            content=content_of(manifest),
        )
        prepare(dataset, store)
        changes: dict[str, Any] = {"dataset": dataset, "folds": None}
        changes["name"] = f"{config.name}-f{number}"
        if config.teachers_of is not None:
            changes["teachers_of"] = f"{config.teachers_of}-f{number}"
        found.append(config.model_copy(update=changes))
    return found


def facts_of_folds(config: StudyConfig, facts: Sequence[StudyFacts]) -> StudyFacts:
    """Returns what is said of a study, from what is said of each fold."""
    first = facts[0]
    if config.folds is None:
        return first
    rows = sum(fact.rows["test"] for fact in facts)
    groups = [fact.groups["test"] for fact in facts if "test" in fact.groups]
    rates = [fact.learning_rate for fact in facts]
    same = len(set(rates)) == 1
    return first.model_copy(
        update={
            "name": config.name,
            "dataset": config.dataset.name,
            "folds": config.folds,
            "rows": {"in all": rows},
            "groups": {"in all": sum(groups)} if len(groups) == len(facts) else {},
            "learning_rates": {
                rate: _mean_of([fact.learning_rates[rate] for fact in facts])
                for rate in first.learning_rates
            },
            "learning_rate": rates[0] if same else None,
            "rate_of_fold": None if same else rates,
        }
    )


def pool_folds(lists: Sequence[Sequence[RunRow]], study: str) -> list[RunRow]:
    """Returns a row for each run that all folds of a cross-validation have ended.

    Bits per dimension are pooled over the folds' rows, which are all of the data set's.

    Args:
        lists: The rows of each fold.
        study: Name of the study.
    """
    by_run: dict[tuple[str, int | None, int | None], list[RunRow]] = {}
    for line in (line for lines in lists for line in lines):
        key = (line.arm, line.teacher_seed, line.student_seed)
        by_run.setdefault(key, []).append(line)
    return [_pooled(lines, study) for lines in by_run.values() if len(lines) == len(lists)]


def _pooled(lines: Sequence[RunRow], study: str) -> RunRow:
    first = lines[0]
    rates = {line.learning_rate for line in lines}
    changes: dict[str, Any] = {
        "study": study,
        "steps": round(np.mean([line.steps for line in lines])),
        "learning_rate": rates.pop() if len(rates) == 1 else None,
    }
    failed = [f"fold {number}: {line.failed}" for number, line in enumerate(lines) if line.failed]
    if failed:
        kept = {"arm", "teacher_seed", "student_seed"}
        return RunRow(**first.model_dump(include=kept), **changes, failed="; ".join(failed))
    for split in ("validation", "test"):
        parts = [bits for line in lines if (bits := getattr(line, f"{split}_bits")) is not None]
        changes[f"{split}_bits"] = pooled = GroupBits.pool(parts)
        changes[split] = pooled.mean
    error = mean_of(changes["test_bits"]).error
    changes["test_standard_error"] = error if np.isfinite(error) else None
    rows = [sum(line.test_bits.rows) for line in lines if line.test_bits is not None]
    changes["nats"] = float(np.average([line.nats or np.nan for line in lines], weights=rows))
    changes["cpu_seconds"] = _mean_of(line.cpu_seconds for line in lines)
    return first.model_copy(update=changes)


def _mean_of(values: Iterable[float | None]) -> float | None:
    """Returns the mean of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
