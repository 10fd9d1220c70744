"""A study's page holds what was measured, wherever the store is reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flowkd.errors import ConfigError
from flowkd.store.store import Store
from jobs.cli.main import app
from jobs.studies.report import render_study
from jobs.studies.stored import keep_results, read_results
from jobs.study_command import places
from tests.jobs.studies.test_document import results
from tests.support.browser import assert_whole, needs_browser, overlapping, seen
from tests.support.pages import assert_stands_alone

HOSTILE = "</td><script>alert('x')</script>"


def test_the_page_holds_every_arm_with_its_figures() -> None:
    page = assert_stands_alone(render_study(results(), "name: s\n"))
    text = re.sub(r"\s+", " ", page.text)
    assert "Teacher 3.000, plain student 3.400, fold 3.080 bits/dim" in text
    assert "foldabout fold 3.080± 0.150 -0.320± 0.010 80%[74%, 86%] 6 runs 24% 4.2x" in text
    assert "closes at least 75% of the gap" in text
    assert "Share of the gap closed: plain 0%, fold 80%, latent 2%" in page.attributes("aria-label")
    assert "**" not in text
    assert "`" not in text


def test_hostile_text_is_shown_as_it_is() -> None:
    page = assert_stands_alone(render_study(results(latent={"about": HOSTILE, "why": HOSTILE})))
    assert page.text.count(HOSTILE) >= 2


def test_what_was_never_compared_has_a_page() -> None:
    nothing = dict.fromkeys(("test", "gap_closed", "gap", "minus_plain", "test_spread"))
    page = assert_stands_alone(
        render_study(
            results(
                {"curves": {}}, **dict.fromkeys(("teacher", "plain", "fold", "latent"), nothing)
            )
        )
    )
    assert "no comparison yet" in page.text


def test_results_are_kept_and_reported_from_the_store(
    local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no study 's' in .*; there are none"):
        read_results(local_store, "s")
    local_store.write(b"name: s\n", "studies", "s", "config.yaml")
    with pytest.raises(ConfigError, match=r"has no results yet: .*--no-train"):
        read_results(local_store, "s")
    keep_results(results(), local_store)
    assert read_results(local_store, "s") == results()
    for what in ("s", "studies/s"):
        called = CliRunner().invoke(app, ["report", what, "--store", local_store.uri])
        assert called.exit_code == 0, called.output
        assert Path("s.html").read_text() == render_study(results(), "name: s\n")
        Path("s.html").unlink()


def test_a_study_is_written_beside_its_results_and_never_over_another_document() -> None:
    figures, document = places("study", ["mine"], None, None)
    assert (figures, document) == (Path("results/study-mine.json"), Path("results/study-mine.md"))
    assert places("study", ["mine"], Path("a/b.json"), None)[1] == Path("a/b.md")
    given = (Path("a/b.json"), Path("docs/study.md"))
    assert places("study", ["mine"], *given) == given


@needs_browser
def test_it_is_readable_on_a_phone(tmp_path: Path) -> None:
    found = seen(render_study(results(), "name: s\n"), tmp_path, 390, dark=True)
    assert_whole(found, dark=True)
    assert found["headings"] == ["The arms", "What was found", "Learning", "How it was made"]
    for label, words in found["words"].items():
        assert overlapping(words) == [], label
