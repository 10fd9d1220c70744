"""What make bench-distill compares: the same step, with and without the teacher's cache."""

from __future__ import annotations

import pytest

from benchmarks.distil import TERMS, every_step, examples, measure, training
from flowkd.flows.build import build_flow, smaller
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.distil.ROWS", 16)


TABLE = CouplingConfig(event_shape=(4,), depth=4, width=16, mean=0.0, scale=1.0)
PICTURES = GlowConfig(event_shape=(1, 4, 4), levels=2, depth=4, width=8, mean=128.0, scale=256.0)


@pytest.mark.parametrize("terms", [name for name, (_, samples) in TERMS.items() if not samples])
def test_a_step_with_a_cache_is_the_one_without(terms: str) -> None:
    teacher, rows = build_flow(TABLE), examples(TABLE)
    teacher.initialize(rows.x[:64])
    steps = {
        way: next(training(teacher, TABLE, rows, 8, *TERMS[terms], way))
        for way in ("no cache", "memory", "plain")
    }
    assert steps["memory"].loss == pytest.approx(steps["no cache"].loss, rel=1e-5)
    assert steps["memory"].terms.keys() > steps["plain"].terms.keys()


def test_every_step_of_the_student_has_a_hint_and_the_last_ones_meet() -> None:
    student, teacher = build_flow(smaller(PICTURES, 0.25)), build_flow(PICTURES)
    hints = every_step(student, teacher)
    assert [hint.student for hint in hints] == [
        name for name in student.taps if name.rpartition("step")[2].isdigit()
    ]
    assert {hint.teacher for hint in hints} >= {"level0.step3", "level1.step3"}


def test_steps_are_timed_beside_the_plain_one() -> None:
    found = measure(TABLE, 8, "samples", seconds=0)
    assert found["over_plain"]["plain"] == [1.0, 1.0, 1.0]
    assert min(found["ms"].values()) > 0
