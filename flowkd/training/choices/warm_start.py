"""What a student begins as: what its config says, or the first that its shapes and rows allow."""

from __future__ import annotations

from typing import Any

from flowkd.distillation.warmstart import WarmStart, check_warm_start
from flowkd.errors import ConfigError
from flowkd.training.resolved import WARM_START_ROWS, ResolvedRun

# What a student begins with if nothing is said: the first that can be.
AUTO_WARM_STARTS: tuple[WarmStart, ...] = ("fold",)


def with_warm_start(run: ResolvedRun) -> ResolvedRun:
    """Returns a run that begins as its config says; where that is open, from its source if it can.

    Raises:
        ConfigError: A student that cannot begin as its config says.
    """
    distillation = run.config.distillation
    if distillation is None or distillation.warm_start == "none":
        return run
    if run.source is None:
        return _begun(run, "none", ["warm_start: none, because another library has the teacher"])
    if distillation.warm_start != "auto":
        try:
            _check(run, distillation.warm_start)
        except ValueError as error:
            raise ConfigError(f"run {run.config.name!r}: warm_start: {error}") from error
        return run
    why = None
    for kind in AUTO_WARM_STARTS:
        try:
            _check(run, kind)
        except ValueError as error:
            why = why or str(error)
            continue
        chosen = _begun(run, kind, [f"warm_start: {kind}"])
        return chosen.model_copy(update={"start_by_default": True})
    return _begun(run, "none", [f"warm_start: none, because {why}"])


def _check(run: ResolvedRun, kind: WarmStart) -> None:
    """Raises ValueError for a student that cannot begin from its source so."""
    assert run.source is not None
    check_warm_start(kind, run.flow, run.source.flow, _calibration_rows(run))


def _begun(run: ResolvedRun, kind: str, notes: list[str]) -> ResolvedRun:
    assert run.config.distillation is not None
    changes: dict[str, Any] = {"warm_start": kind}
    if kind == "none":
        changes["warm_from"] = None
    objective = run.config.distillation.model_copy(update=changes)
    update: dict[str, Any] = {
        "config": run.config.model_copy(update={"objective": objective}),
        "notes": (*run.notes, *notes),
    }
    if kind == "none":
        update["source"] = None
    return run.model_copy(update=update)


def _calibration_rows(run: ResolvedRun) -> int:
    """Returns how many different rows a warm start has to calibrate on."""
    if run.train_rows is not None:
        return run.train_rows
    assert run.config.distillation is not None
    return run.config.distillation.samples.rows or WARM_START_ROWS
