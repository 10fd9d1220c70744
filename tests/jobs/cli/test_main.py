"""The list of commands: what each page says, and what is not imported for it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flowkd import __version__
from jobs.cli.config import FILE_NAMES
from jobs.cli.main import PLACES, app
from jobs.cli.queue import KIND_NAMES
from jobs.kinds import KINDS
from jobs.schemas import FILES
from tests.support import ROOT

HEAVY = ("torch", "ray", "pyarrow", "matplotlib", "optuna")
OF_STORES = ("pydantic", "fsspec")
LISTED = """
import sys
from jobs.cli.main import app
try:
    app(sys.argv[2:], prog_name="flowkd")
except SystemExit as ended:
    assert ended.code in (0, None), ended.code
print([name for name in sys.argv[1].split(",") if name in sys.modules], file=sys.stderr)
"""


def pages() -> Iterator[tuple[str, Any]]:
    """Yields all commands and groups, by what is typed, first the whole."""

    def below(typed: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield typed, command
        if hasattr(command, "list_commands"):
            context = command.make_context(typed, [], resilient_parsing=True)
            for name in command.list_commands(context):
                yield from below(f"{typed} {name}", command.get_command(context, name))

    return below("flowkd", get_command(app))


PAGES = dict(pages())


@pytest.mark.parametrize("typed", PAGES)
def test_every_page_has_a_sentence_and_an_example_that_is_a_call(typed: str) -> None:
    command = PAGES[typed]
    assert command.help, typed
    said = CliRunner().invoke(app, [*typed.split()[1:], "--help"], env={"COLUMNS": "300"}).output
    assert "Example:  " in said
    lines = re.findall(r"flowkd(?: [^\s)\"]+)*", command.epilog)
    assert lines
    for line in lines:
        assert line.startswith(typed)
        words = shlex.split(line)
        called, rest = get_command(app), words[1:]
        while hasattr(called, "list_commands") and rest and not rest[0].startswith("-"):
            context = called.make_context("flowkd", [], resilient_parsing=True)
            called = called.get_command(context, rest.pop(0))
        called.make_context(line, rest)  # parses: every option there is, every argument given


@pytest.mark.parametrize("name", PLACES)
def test_the_list_says_what_the_page_says(name: str) -> None:
    assert PLACES[name].load(name).help.strip() == PLACES[name].help
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).output
    assert f" {name} " in said
    assert PLACES[name].help in said
    assert f" {PLACES[name].panel} " in said


def test_names_that_help_knows_without_torch_are_those_of_the_code() -> None:
    assert set(KIND_NAMES) == set(KINDS)
    assert set(FILE_NAMES) == set(FILES)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("--help", ()),
        ("--version", ()),
        ("submit --help", ()),
        ("queue --help", ()),
        ("search --help", ()),
        ("data import --help", ()),
        ("config schema --help", ()),
        ("runs remove --help", ()),
        ("up --help", ()),
        ("queue --once --store STORE", ()),
        ("queue --json --store STORE", ()),
        ("status --store STORE", ()),
        ("store check --store STORE", ()),
        ("models list --store STORE", ("pyarrow",)),
        ("runs list --store STORE", ("pyarrow",)),
        ("data list --store STORE", ("pyarrow",)),
    ],
)
def test_what_needs_no_torch_does_not_import_it(
    store: Path, tmp_path: Path, command: str, allowed: tuple[str, ...]
) -> None:
    words = command.replace("STORE", str(store)).split()
    heavy = (*HEAVY, *OF_STORES) if command in ("--help", "--version") else HEAVY
    refused = ",".join(name for name in heavy if name not in allowed)
    done = subprocess.run(
        [sys.executable, "-c", LISTED, refused, *words], cwd=tmp_path, capture_output=True,
        text=True, timeout=120, check=False, env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"flowkd {__version__}\n"


def test_a_shell_completes_commands_without_importing_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'flowkd'\n" + LISTED, ",".join(HEAVY)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={
            "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "_FLOWKD_COMPLETE": "complete_bash",
            "COMP_WORDS": "flowkd mo", "COMP_CWORD": "1",
        },
    )  # fmt: skip
    assert done.stdout.split() == ["models"], done.stderr
    assert json.loads(done.stderr.splitlines()[-1].replace("'", '"')) == []
