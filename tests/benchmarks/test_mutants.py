"""Deliberate faults: all can be made, and what becomes of each is told right."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import mutants
from benchmarks.mutants import Mutant, document, read_mutants, try_all
from tests.support import ROOT

MUTANTS = read_mutants()
CODE = "def add(a, b):\n    return a + b\n"
TEST = "from sums import add\n\ndef test_it_adds():\n    assert add(2, 3) == 5\n"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_a_fault_can_be_made_in_one_place(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.original) == 1, "adapt the row in tests/mutants.yaml to the code"
    if mutant.file.endswith(".py"):
        ast.parse(text.replace(mutant.original, mutant.mutated))
    for test in mutant.tests.split():
        assert (ROOT / test.split("::")[0]).exists()


def test_each_fault_is_described_and_made_once() -> None:
    assert len({mutant.fault for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(m.file, m.original, m.mutated) for m in MUTANTS}) == len(MUTANTS)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of one function and one test."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    cluster\n    server\n")
    (tmp_path / "sums.py").write_text(CODE)
    (tmp_path / "test_sums.py").write_text(TEST)
    return tmp_path


def fault(original: str, mutated: str) -> Mutant:
    return Mutant(f"{mutated} for {original}", "sums.py", original, mutated, "test_sums.py")


def test_a_fault_is_caught_or_missed_and_the_tree_stays_as_it_is(tree: Path) -> None:
    tried = [
        fault("a + b", "a - b"),
        fault("a + b", "b + a"),  # no fault at all
        fault("a * b", "a - b"),  # is not there
        fault("a + b", "a +"),  # is no Python
    ]
    caught, missed, stale, broken = try_all(tried, tree)
    assert caught.caught_by == "test_sums.py::test_it_adds"
    assert (missed.caught_by, missed.note) == (None, "its tests pass")
    assert stale.caught_by is None
    assert "0 times, expected once" in stale.note
    assert broken.caught_by is None, "a file that cannot be imported shows nothing about its tests"
    assert (tree / "sums.py").read_text() == CODE


def test_tests_that_fail_by_themselves_show_nothing(tree: Path) -> None:
    (tree / "test_sums.py").write_text(TEST.replace("5", "6"))
    with pytest.raises(SystemExit, match="fail without any fault"):
        try_all([fault("a + b", "a - b")], tree)


def test_a_missed_fault_is_told_and_ends_in_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs/results").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mutants, "read_mutants", lambda: [fault("a", "b"), fault("b", "a")])
    for outcomes, status in ((["t::one", "t::two"], 0), (["t::one", None], 1)):
        answer = [mutants.Outcome(caught_by) for caught_by in outcomes]
        monkeypatch.setattr(mutants, "try_all", lambda chosen, answer=answer: answer)
        assert mutants.main([]) == status
        page = (tmp_path / "docs/results/mutants.md").read_text()
        assert ("**missed**" in page) == bool(status)
        assert "t::one" in page


def test_words_that_no_fault_holds_try_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutants.main(["outgoing", "no such fault"]) == 2
    assert "no fault of mutants.yaml holds outgoing and no such fault" in capsys.readouterr().out


def test_the_page_has_a_row_for_each_fault() -> None:
    row = {"fault": "none", "file": "a.py", "caught_by": "t::one"}
    page = document({"date": "today", "seconds": 3, "mutants": [row, {**row, "caught_by": None}]})
    assert "1 of 2" in page
    assert "| none | a.py | t::one |" in page
