"""The callback of Ray Tune that follows a search and writes its status."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial

from tuning.config import SearchConfig
from tuning.gains import best_row, gains_of
from tuning.pbt import trial_values
from tuning.records import SearchRecords, TrialEnd, TrialStart, TrialStatus
from tuning.status import Status, seconds_left, write_status
from tuning.trial_row import TrialRow, note_of

STATUS_SECONDS = 2.0


class StatusCallback(Callback):
    """Writes the status of a search, and the end of trials that were stopped.

    Args:
        config: The search.
        records: Records of the search.
        show: Called with each new status.
        count: Number of trials in all.
    """

    def __init__(
        self,
        config: SearchConfig,
        records: SearchRecords,
        show: Callable[[Status], None],
        count: int,
    ) -> None:
        self._count = count
        self._config, self._records, self._show = config, records, show
        self._began = time.time()
        self._before = {trial.start.number for trial in records.trials() if trial.end}
        # Of a population, one trial may go on with the config of another.
        self._numbers: dict[str, int] = {}
        self._rows: dict[int, TrialRow] = {}
        self._curves: dict[int, list[tuple[int, float]]] = {}
        self._written = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray Tune pickles it for a restore, which is not used

    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Adds a trial that begins, or begins again after its worker was lost."""
        number = self._numbers.setdefault(trial.trial_id, trial_values(trial)["number"])
        begun = TrialStart(**self._records.read(f"trials/{number:04}.json"))
        self._curves.setdefault(number, [])
        note = note_of(begun.params, begun.role)
        self._rows[number] = TrialRow(
            number, "running", 0, None, begun.parameter_count, note, begun.role
        )

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Notes how good a trial is by now, or that it failed."""
        number = self._numbers[trial.trial_id]
        row = self._rows[number]
        if result.get("failed"):
            self._rows[number] = replace(
                row, state="failed", step=result["step"], bits_per_dim=None, note=result["failed"]
            )
        elif "step" in result:
            step = result["step"]
            told = [point for point in self._curves[number] if point[0] < step]
            self._curves[number] = [*told, (step, result["bits_per_dim"])]
            self._rows[number] = replace(
                row, state="running", step=step, bits_per_dim=result["bits_per_dim"]
            )

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Notes that a trial has ended, by itself or because it was stopped."""
        number = self._numbers[trial.trial_id]
        row = self._rows[number]
        if row.state == "failed":
            return
        state: TrialStatus = "finished" if row.step >= self._config.train.steps else "stopped"
        if self._records.ended(number) is None:
            seconds = round(float(trial.last_result.get("seconds", 0.0)), 3)
            self._records.end(number, TrialEnd(state, self._curves[number], seconds))
        self._rows[number] = replace(row, state=state)

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Notes that a trial's worker was lost too often; a resumed search tries it again."""
        number = self._numbers.get(trial.trial_id, -1)
        row = self._rows.get(number)
        if row is not None:
            note = "its worker was lost; --resume tries it again"
            self._rows[number] = replace(row, state="lost", bits_per_dim=None, note=note)

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Writes the status from time to time."""
        if time.monotonic() - self._written > STATUS_SECONDS:
            self.write("searching")

    def write(self, stage: str, outcome: dict[str, Any] | None = None) -> None:
        """Writes the status now."""
        status = self.status(stage, outcome)
        write_status(self._records, status)
        self._show(status)
        self._written = time.monotonic()

    def status(self, stage: str, outcome: dict[str, Any] | None = None) -> Status:
        """Returns how far the search is."""
        rows = [self._rows[number] for number in sorted(self._rows)]
        ended = [row for row in rows if row.state != "running" and row.number not in self._before]
        best = best_row(rows)
        left = self._count - len(self._before)
        return Status(
            stage=stage,
            trials=self._count,
            steps=self._config.train.steps,
            began=self._began,
            time=time.time(),
            seconds_left=seconds_left(self._began, len(ended), left),
            best=best.number if best else None,
            gains=gains_of(rows),
            rows=rows,
            outcome=outcome,
        )
