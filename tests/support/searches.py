"""A small search that the tests of its parts share."""

from __future__ import annotations

from typing import Any

from tuning.config import SearchConfig

SPACE: dict[str, Any] = {
    "shape": {"depth": [1, 2], "width": [4, 6, 60]},
    "hints": {"max_hints": 2, "normalize": [True, False]},
    "weights": {
        "nll": 1,
        "samples": {"low": 0.1, "high": 1, "optional": True, "schedules": ["constant", "cosine"]},
        "hints": {"low": 0.01, "high": 1, "schedules": ["linear", "cosine"]},
        "log_det": {"low": 0.01, "high": 1, "optional": True},
    },
    "warm_start": ["fold", "slice", "none"],
    "learning_rate": {"low": 0.001, "high": 0.1},
}


def searching(name: str, **changes: Any) -> SearchConfig:
    values = {
        "name": name,
        "teacher": "runs/teacher",
        "dataset": "walks",
        "student": {"kind": "coupling", "depth": 2, "width": 6, "context": "ignore"},
        "budget": {"parameters_share": 0.9},
        "space": SPACE,
        # The rate is that of the baselines, which would look for it.
        "train": {"steps": 8, "learning_rate": 0.01, "warmup_steps": 2, "ema_decay": 0.9},
        "batch_size": 8,
        "validate_every": 2,
        "samples": {"rows": 20},
        "trials": 6,
    }
    return SearchConfig.model_validate({**values, **changes})


def space(**changes: Any) -> dict[str, Any]:
    return {**SPACE, **changes}
