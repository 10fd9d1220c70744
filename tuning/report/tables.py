"""The trials of a search as Parquet tables, for your own analyses."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tuning.records import Trial

CHOICE = "choice."  # prefix of the columns of what was chosen


def trials_parquet(trials: Sequence[Trial]) -> bytes:
    """Returns a Parquet file of one row a trial.

    Its columns are `number`, `role`, which is `plain` or `default` of a baseline and else null,
    `state`, `bits_per_dim` on the validation rows, null where there is none, `steps` done,
    `seconds` of training, `parameters` of the student, `throughput` over the teacher's, null where
    it was not measured, `reason` of a failure, `config` of its run as YAML, and for each parameter
    `choice.NAME`, null where it was not chosen.
    """
    columns: dict[str, pa.Array] = {
        "number": pa.array([trial.start.number for trial in trials], pa.int64()),
        "role": pa.array([trial.start.role for trial in trials], pa.string()),
        "state": pa.array([trial.state for trial in trials], pa.string()),
        "bits_per_dim": pa.array([_finite(trial.bits_per_dim) for trial in trials], pa.float64()),
        "steps": pa.array([trial.steps for trial in trials], pa.int64()),
        "seconds": pa.array([t.end.seconds if t.end else None for t in trials], pa.float64()),
        "parameters": pa.array([trial.start.parameter_count for trial in trials], pa.int64()),
        "throughput": pa.array([trial.start.throughput for trial in trials], pa.float64()),
        "reason": pa.array([_reason(trial) for trial in trials], pa.string()),
        "config": pa.array([_yaml(trial.training) for trial in trials], pa.string()),
    }
    for name in dict.fromkeys(name for trial in trials for name in trial.start.params):
        columns[CHOICE + name] = _choices([trial.start.params.get(name) for trial in trials])
    return _parquet(columns)


def curves_parquet(trials: Sequence[Trial]) -> bytes:
    """Returns a Parquet file of each validation: `trial`, `step`, and the best until then."""
    rows = [
        (trial.start.number, step, bits)
        for trial in trials
        if trial.end
        for step, bits in trial.end.curve
    ]
    return _parquet(
        {
            "trial": pa.array([number for number, _, _ in rows], pa.int64()),
            "step": pa.array([step for _, step, _ in rows], pa.int64()),
            "bits_per_dim": pa.array([bits for _, _, bits in rows], pa.float64()),
        }
    )


def _choices(values: list[Any]) -> pa.Array:
    """Returns a column of numbers where all are, else of text."""
    if all(isinstance(value, float | int | None) for value in values):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _reason(trial: Trial) -> str | None:
    return trial.end.reason or None if trial.end else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _parquet(columns: dict[str, pa.Array]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()
