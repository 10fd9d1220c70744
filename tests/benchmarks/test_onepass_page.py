"""The page of one-pass students: what it tells of what was measured."""

from __future__ import annotations

from benchmarks.onepass.datasets import known
from benchmarks.onepass.page import document


def student(role, seed, nats, auc=0.52):
    figure = {"estimate": 0.5, "error": 0.1, "low": 0.3, "high": 0.7}
    return {
        "role": role, "seed": seed, "nats": nats, "c2st": {"value": auc}, "steps": 1000,
        "from_teacher": figure, "to_teacher": figure, "effective": figure, "parameters": 25,
        "cpu_seconds": 7,
    }  # fmt: skip


def test_the_share_of_the_gap_is_over_seeds_and_rates_over_the_exact_one():
    students = [student("plain", seed, -1.2 - seed / 10) for seed in (0, 1)]
    students += [student("distilled", seed, -1.1 - seed / 10, auc=0.53) for seed in (0, 1)]
    teacher = {
        "rows": 100, "columns": 8, "truth": -0.9, "nats": -1.0, "c2st": {"value": 0.51},
        "parameters": 100, "steps": 900, "cpu_seconds": 7200,
    }  # fmt: skip
    rates = {"exact": 10.0, "jacobi": 30.0, "student": 2000.0}
    found = {"students": students, "teacher": teacher, "sampling": rates}
    shared = {"date": "today", "torch": "2", "machine": "m", "load": 0, "steps": 1000}
    page = document({**shared, "data": {"known": found}})
    assert "closed: 40%, of 0.2500 ± 0.0707 nats a dimension; seed by seed 50%, 33%" in page
    assert "above the teacher's: 0.020 ± 0.000" in page
    assert "by Jacobi iterations 30 (3.0x), the student 2,000 (200.0x)" in page
    assert "density is -0.9000 nats" in page
    assert "What else a student" not in page
    assert "Cut off at 1,000 steps, before a plateau: plain of known, distilled of known." in page
    assert "Cut off" not in document({**shared, "steps": 1001, "data": {"known": found}})
    students[0]["steps"] = 990
    page = document({**shared, "data": {"known": found}})
    assert "before a plateau: plain of known (1 of 2 seeds), distilled of known." in page


def test_the_density_of_the_made_set_is_that_of_its_rows():
    splits = known(columns=2)
    x = splits.test.double()
    scale = 0.2 + 0.8 * (2 * x[:, 0]).sigmoid()
    shift = (2 * x[:, 0]).sin() + 0.3 * x[:, 0]
    z = (x[:, 1] - shift) / scale
    log_prob = -0.5 * (x[:, 0] ** 2 + z**2) - scale.log() - 1.8378770664093453
    assert splits.truth is not None
    assert abs(log_prob.mean().item() - splits.truth) < 1e-4


def test_a_page_of_what_is_measured_so_far_says_what_is_not():
    teacher = {
        "rows": 100, "columns": 8, "truth": None, "nats": -1.0, "c2st": {"value": 0.51},
        "parameters": 100, "steps": 900, "cpu_seconds": 7,
    }  # fmt: skip
    shared = {"date": "today", "torch": "2", "machine": "m", "load": 0, "steps": 1000}
    found = {"teacher": teacher, "students": [student("plain", 0, -1.2)]}
    page = document({**shared, "data": {"casp": found}})
    assert "| plain | -1.2000 |" in page
    assert "closed: not measured yet" in page
    assert "| distilled |" not in page
    assert "Samples a second" not in page
