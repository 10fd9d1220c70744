"""README.md and docs/: blocks are what their commands and configs take, and the site is whole."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.scripts.scripts import cli as ray_command
from typer.main import get_command

import flowkd
from benchmarks import command_page, http_page
from cluster import exits
from cluster.queue.config import QueueConfig
from cluster.serve.api import build_api
from cluster.serve.config import ServingConfig, ServingLimits
from flowkd.config import parse_config
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.evaluation.config import EvaluationConfig
from flowkd.registry.publish import PublishConfig
from flowkd.training.config import TrainingConfig
from jobs.cli.main import app
from jobs.pipeline import PipelineConfig
from jobs.studies.config import StudyConfig
from tests.support import ROOT
from tests.support.blocks import DOCS, PAGES, Block, blocks, commands, name_of
from tests.support.pages import Page
from tuning.config import SearchConfig

ALL = [block for page in PAGES for block in blocks(page)]
# Each line once, whichever page has it.
SHELL = list({line: block for block in ALL if block.language == "sh"
              for line in commands(block)}.items())  # fmt: skip
YAML = [block for block in ALL if block.language == "yaml"]
JOB = re.compile(r"python -m (jobs|cluster|tuning)\.")
OF_JOBS = {"--config", "--store", "--set", "--check", "--local", "--cluster"}
# A key that only one kind of config has.
KINDS: dict[str, Any] = {
    "arms": StudyConfig, "space": SearchConfig, "stages": PipelineConfig, "models": ServingConfig,
    "flows": EvaluationConfig, "autoscaling_nodes": QueueConfig, "model": PublishConfig,
    "dataset": TrainingConfig, "kind": PrepareConfig,
}  # fmt: skip


def test_each_block_says_what_it_is() -> None:
    languages = {"sh", "yaml", "python", "text"}
    others = [block for block in ALL if block.language not in languages]
    assert all(block.language and not block.runs for block in others)
    assert len(SHELL) > 80
    assert sum(block.runs for block in ALL) > 5 * sum(not block.runs for block in ALL)


@pytest.mark.parametrize(("line", "block"), SHELL, ids=[line for line, _ in SHELL])
def test_a_command_is_one(line: str, block: Block) -> None:
    if inner := re.fullmatch(r'eval "\$\((.*)\)"', line):  # of what it prints
        line = inner[1]
    line = re.sub(r" > \S+$", "", line)
    words = shlex.split(line)
    if words[0] == "make":
        asked = [
            "make",
            "-n",
            "PYTHON=python",
            *words[1:],
        ]  # which it else looks for, a second long
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    elif words[0] == "flowkd":
        assert_parses(get_command(app), words[1:])
    elif words[0] == "ray":
        assert_parses(ray_command, words[1:])
        if " -- " in line:
            assert_is_a_job(line.partition(" -- ")[2])
    elif words[0] == "python":
        assert_is_a_job(line)
    elif words[0] == "curl":
        [path] = re.findall(r"localhost:8000(\S+)", line)
        asked = re.sub(r"/models/\w+", "/models/{name}", path)
        assert asked in build_api(None, ServingLimits()).openapi()["paths"]  # type: ignore[arg-type]
    elif words[0] in ("docker", "kubectl"):
        assert not block.runs
        assert [word for word in words if word.startswith("cluster/")] or words[1] == "push"
        assert all((ROOT / word).exists() for word in words if word.startswith("cluster/"))
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert set(re.findall(r"\[(.*)\]", words[2])) <= set(extras["optional-dependencies"])
    elif words[0] == "tensorboard":
        assert not block.runs
        assert words[1] == "--logdir"
    else:
        assert words[0] in (".", "export"), line


def assert_parses(command: Any, words: list[str]) -> None:
    """Follows words to the command that they name, which takes the options and arguments."""
    typed = command.name or ""
    while hasattr(command, "list_commands") and words and not words[0].startswith("-"):
        context = command.make_context(typed, [], resilient_parsing=True)
        known = command.list_commands(context)
        assert words[0] in known, f"{words[0]} is none of {known}"
        command, typed, words = command.get_command(context, words[0]), words[0], words[1:]
    command.make_context(typed, list(words))


def assert_is_a_job(line: str) -> None:
    """It is an entry point that is there, with options that it has."""
    words = shlex.split(line)
    assert JOB.match(line), line
    path = ROOT.joinpath(*words[2].split("."))
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    assert {word for word in words[3:] if word.startswith("--")} <= OF_JOBS


@pytest.mark.parametrize("block", YAML, ids=lambda each: f"{each.page.stem}-{each.file}")
def test_a_config_is_what_its_job_takes(block: Block) -> None:
    values: dict[str, Any] = yaml.safe_load(block.text)
    if "tracking" in values:  # a part of several kinds
        values = {"name": "run", "dataset": "stars", **values}
    kind = next(kind for key, kind in KINDS.items() if key in values)
    parse_config(kind, values, source=block.page.name)


LINKED = [*PAGES, ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_no_link_is_broken(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert not [link for link in inside if not (page.parent / link).exists()]


def test_the_files_that_the_architecture_names_are_there() -> None:
    """Whole paths; bare names lie beside a path that is named before."""
    text = (DOCS / "explanation/architecture.md").read_text(encoding="utf-8")
    folders = [ROOT]
    for path in re.findall(r"`([\w./]+(?:\.(?:py|md|yaml|yml)|/))`", text):
        if path.startswith("runs/"):
            continue
        if "/" in path:
            folders.append(ROOT / path if path.endswith("/") else (ROOT / path).parent)
        assert any((folder / path).exists() for folder in (ROOT, *folders)), path


@pytest.mark.parametrize("made", [command_page, http_page], ids=lambda made: made.PAGE.stem)
def test_a_reference_is_that_of_the_code(made: Any) -> None:
    assert (ROOT / made.PAGE).read_text(encoding="utf-8") == made.document(), "call `make docs`"


def test_the_exit_codes_are_those_of_the_code() -> None:
    text = (DOCS / "reference/exit-codes.md").read_text(encoding="utf-8")
    usage = 2
    known = {0, usage, *(getattr(exits, name) for name in
             ("ERROR", "FAULT", "AGAIN", "FENCED", "INTERRUPTED"))}  # fmt: skip
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == known


def test_readme_is_one_screen() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    picture = ROOT / "docs/images/report.png"
    assert "docs/images/report.png" in text
    assert picture.stat().st_size < 200_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file",
         str(ROOT / "docs/site/mkdocs.yml"), "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},  # of the theme's maintainers, not of a page
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_the_site_has_every_page_and_asks_no_other_server(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        built = site / page.relative_to(DOCS).with_suffix(".html")
        assert built.exists(), f"{page.name} is not in the site"
    home = Page((site / "index.html").read_text(encoding="utf-8"))
    loaded = [*home.attributes("src"), *(attrs.get("href", "") for tag, attrs in home.elements
              if tag == "link" and attrs.get("rel") == "stylesheet")]  # fmt: skip
    assert not [address for address in loaded if "//" in address]


def test_the_site_has_all_that_python_gives(site: Path) -> None:
    text = (site / "reference/python.html").read_text(encoding="utf-8")
    for name in flowkd.__all__:
        if name != "__version__":
            assert re.search(rf'id="[\w.]+\.{name}"', text), name
