"""Inputs that were once taken wrongly are taken rightly, and the search for more would see them."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from benchmarks.fuzz import watched
from benchmarks.fuzz.__main__ import CASES, inputs
from benchmarks.fuzz.targets import Target, message_fault, targets
from benchmarks.fuzz.watched import Watched, judge

KEPT = sorted(path for path in CASES.rglob("*") if path.is_file())
TARGETS = targets()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: str(path.relative_to(CASES)))
def test_what_was_once_taken_wrongly_is_taken_rightly(path):
    suffix = path.name[path.name.index(".") :]
    assert judge(TARGETS[path.parent.name], suffix, path.read_bytes()) is None


@pytest.mark.parametrize("name", TARGETS)
def test_valid_inputs_and_some_changed_ones_have_no_fault(name):
    target = TARGETS[name]
    for suffix, data in target.seeds.items():
        assert target.check(suffix, data) is None
    for suffix, data in inputs(name, target, 5, seed=1):
        assert judge(target, suffix, data) is None, data


def test_inputs_are_the_same_for_a_seed():
    target = TARGETS["tables"]
    assert list(inputs("tables", target, 5, 0)) == list(inputs("tables", target, 5, 0))
    assert list(inputs("tables", target, 5, 0)) != list(inputs("tables", target, 5, 1))


def faulty(suffix, data):
    """What the product might do wrong, by the first byte of the input."""
    match data[:1]:
        case b"r":
            raise ZeroDivisionError("division by zero")
        case b"e":
            os._exit(3)
        case b"s":
            time.sleep(60)
        case b"m":
            return f"memory {np.ones(120_000_000).sum():g}"[:0] or None
        case b"t":
            return message_fault("<_io.BytesIO object at 0x7f0000000000>")
    return None


FAULTS = {
    b"r": "ZeroDivisionError: division by zero",
    b"e": "ended the process, exit code 3",
    b"s": "no answer within 10 s",
    b"m": "MiB of memory for 1 bytes",
    b"t": "a message holds 'at 0x7f0000000000'",
    b"g": None,
}


def test_each_kind_of_fault_is_seen_and_the_next_input_is_judged_all_the_same(monkeypatch):
    monkeypatch.setattr(watched, "SECONDS", 10)
    process = Watched("own", make=faulty_target)
    try:
        for data, expected in FAULTS.items():
            found = process.judge(".txt", data)
            assert found is None if expected is None else expected in found
    finally:
        process.close()


def faulty_target():
    watched.MEBIBYTES = 256  # of the process that judges
    return Target({}, {}, faulty)
