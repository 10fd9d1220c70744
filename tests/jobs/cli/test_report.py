"""`flowkd report`: a page of what the store holds, written where it was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.report.from_store import read_comparison
from flowkd.store.store import Store
from flowkd.training.setup import run_in_process
from jobs.cli.main import app
from tests.support.pages import assert_stands_alone
from tests.support.small_runs import furnish, training
from tests.support.small_searches import searched, small_search


@pytest.fixture
def compared(local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a comparison, the folder of the test as the working one."""
    monkeypatch.chdir(tmp_path)
    furnish(local_store)
    list(run_in_process(training("student"), local_store))
    flows = {"teacher": "runs/teacher", "student": "runs/student"}
    evaluate(EvaluationConfig(name="both", flows=flows, dataset="walks", seconds=0.02), local_store)
    return local_store


def call(store: Store, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["report", *arguments, "--store", store.uri])
    return result.exit_code, result.output.replace("\n", "")


def test_a_comparison_and_each_of_its_runs_have_a_page(compared: Store) -> None:
    assert call(compared, "both")[0] == 0
    page = assert_stands_alone(Path("both.html").read_text())
    assert "student has" in page.text
    code, said = call(compared, "runs/student", "--output", "student page.html")
    assert (code, "student page.html" in said) == (0, True)
    page = assert_stands_alone(Path("student page.html").read_text())
    assert "runs/student has" in page.text
    assert "bits per dimension on validation" in page.text
    spoken = page.attributes("aria-label")
    assert sum(each.startswith("Pair plot") for each in spoken) == 2
    assert any(each.startswith("nll, ") for each in spoken)


def test_the_page_that_the_store_keeps_is_that_of_the_figures_it_has(compared: Store) -> None:
    compared.write(b"a kept page", "evaluations", "both.html")
    assert call(compared, "both")[0] == 0
    assert Path("both.html").read_text() == "a kept page"
    assert call(compared, "both", "--anew")[0] == 0
    assert "student has" in assert_stands_alone(Path("both.html").read_text()).text
    evaluate(read_comparison(compared, "both"), compared)
    assert not compared.exists("evaluations", "both.html")


def test_a_run_in_progress_has_a_page(compared: Store) -> None:
    compared.remove("runs", "student", "result")
    assert call(compared, "runs/student")[0] == 0
    page = assert_stands_alone(Path("student.html").read_text())
    assert "runs/student is unfinished: 6 steps so far" in page.text


def test_a_search_has_a_page_under_its_own_name_or_with_its_folder(compared: Store) -> None:
    config = small_search("both")
    searched(compared, config, 2, "fs", "ff")
    code, said = call(compared, "both")
    assert (code != 0, "ask for evaluations/both or searches/both" in said) == (True, True)
    assert call(compared, "searches/both")[0] == 0
    page = assert_stands_alone(Path("both.html").read_text())
    assert "What the search has gained" in page.text
    assert call(compared, "evaluations/both")[0] == 0
    assert "student has" in assert_stands_alone(Path("both.html").read_text()).text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no comparison, search or study 'nothing'"),
        (["evaluations/nothing"], "no comparison 'nothing'"),
        (["searches/nothing"], "no search 'nothing'"),
        (["studies/nothing"], "no study 'nothing'"),
        (["runs/nothing"], "no run 'nothing'"),
        (["both", "--output", "no/such/page.html"], "there is no folder no/such"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(
    compared: Store, arguments: list[str], said: str
) -> None:
    code, output = call(compared, *arguments)
    assert code != 0
    assert said in output
    assert "Traceback" not in output
