"""docs/reference/config.md is that of the code, and every key of it is explained."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from flowkd.config.schema import keys_of
from jobs.cli.main import app
from jobs.schemas import DOCUMENT, document, sections
from tests.support import ROOT

MODELS = {name: model for group in sections().values() for name, model in group.items()}


def test_the_document_is_that_of_the_code() -> None:
    assert (ROOT / DOCUMENT).read_text(encoding="utf-8") == document(), "call `make docs`"


@pytest.mark.parametrize("kind", MODELS)
def test_every_key_is_explained(kind: str) -> None:
    unexplained = [key.path for key in keys_of(MODELS[kind]) if not key.sentence]
    assert unexplained == []


@pytest.mark.parametrize("kind", ["run", "glow", "distillation", "table", "search", "serve", "job"])
def test_the_command_prints_the_keys_of_a_configuration(kind: str) -> None:
    called = CliRunner().invoke(app, ["config", "schema", kind])
    assert called.exit_code == 0
    assert all(key.path in called.output for key in keys_of(MODELS[kind]))


def test_an_unknown_configuration_is_answered_with_those_there_are() -> None:
    called = CliRunner().invoke(app, ["config", "schema", "nothing"])
    assert called.exit_code == 1
    assert "expected one of workflow, run, search," in called.output
