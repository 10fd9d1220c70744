"""A study that the tests of its parts share."""

from __future__ import annotations

from typing import Any

from flowkd.config import parse_config
from jobs.studies.config import StudyConfig
from jobs.studies.outcomes import RunOutcome
from jobs.studies.plan import Choices

TRAIN = {"steps": 100, "learning_rate": 1e-3, "warmup_steps": 10}
STUDY: dict[str, Any] = {
    "name": "s",
    "title": "A study",
    "dataset": {"kind": "digits"},
    "teacher": {"flow": {"kind": "glow", "levels": 1, "depth": 4}, "train": TRAIN},
    "student": {"flow": {"kind": "glow", "levels": 1, "depth": 2}, "train": TRAIN},
    "learning_rates": [0.001, 0.01],
    "teacher_seeds": [0, 1],
    "student_seeds": [5, 6, 7],
    "arms": {
        "plain": {"about": "data alone"},
        "best": {"about": "folded", "objective": {"warm_start": "fold"}},
        "stages": {
            "about": "in two stages",
            "intermediate": {"kind": "glow", "levels": 1, "depth": 3},
            "objective": {"warm_start": "fold"},
            "seed_pairs": [[0, 5], [1, 6]],
        },
        "longer": {"about": "plain, longer", "steps_factor": 3},
        "matched": {"about": "plain, as dear as best", "cpu_matched_to": "best"},
    },
    "best": "best",
}
CHOSEN = Choices(0.01, {"matched": 150})


def study(**changes: Any) -> StudyConfig:
    return parse_config(StudyConfig, {**STUDY, **changes}, source="study.yaml")


def ends(validation: float = 3.0, seconds: float = 10.0, failed: str | None = None) -> RunOutcome:
    return RunOutcome("2026-01-01T00:00:00+00:00", validation, seconds, failed)
