"""Every block of code in README runs, or is what its command, config or route takes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml

from cluster.queue.config import QueueConfig
from cluster.serve.api import build_api
from cluster.serve.config import ServingLimits
from flowkd.config import parse_config
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.training.config import TrainingConfig
from jobs.cli.main import app
from jobs.pipeline import PipelineConfig
from tests.support import ROOT
from tuning.config import SearchConfig

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHELL = [body for language, body in BLOCKS if language == "sh"]
YAML = [body for language, body in BLOCKS if language == "yaml"]
PYTHON = [body for language, body in BLOCKS if language == "python"]
JOB = re.compile(r"python -m (jobs|cluster|tuning)\.")
# Shapes and steps of which there are many in README, and few here.
SMALLER = {"(3, 32, 32)": "(3, 8, 8)", "levels=3, depth=8, width=128": "levels=2, depth=4, width=8"}


def commands() -> list[str]:
    lines = "".join(SHELL).replace("\\\n", " ").splitlines()
    without_remarks = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in lines)
    return [line for line in without_remarks if line]


def test_each_block_says_what_it_is():
    assert {language for language, _ in BLOCKS} == {"sh", "yaml", "python", "text"}
    assert len(commands()) > 30


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one(command: str) -> None:
    if inner := re.fullmatch(r'eval "\$\((.*)\)"', command):  # of what it prints
        command = inner[1]
    words = [word for word in shlex.split(command) if "=" not in word or word.startswith("-")]
    if words[0] == "make":
        done = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
    elif words[0] == "flowkd":
        check_flowkd(shlex.split(command)[1:])
    elif words[:3] == ["ray", "job", "submit"]:
        check_job(command.partition(" -- ")[2])
    elif words[0] == "python":
        check_job(command)
    else:
        assert words[0] == "curl", command
        [path] = re.findall(r"localhost:8000(\S+)", command)
        asked = re.sub(r"/models/\w+", "/models/{name}", path)
        assert asked in build_api(None, ServingLimits()).openapi()["paths"]  # type: ignore[arg-type]


def check_flowkd(words: list[str]) -> None:
    """Follows the words to the command that they name, and looks up its options there."""
    command: Any = typer.main.get_command(app)
    options: set[str] = set()
    while hasattr(command, "list_commands"):
        context = command.make_context("flowkd", [], resilient_parsing=True)
        known = command.list_commands(context)
        options |= {name for param in command.params for name in param.opts}
        if not words or words[0].startswith("-"):
            break
        assert words[0] in known, f"{words[0]} is none of {sorted(known)}"
        command, words = command.get_command(context, words[0]), words[1:]
    options |= {name for param in command.params for name in param.opts}
    given = {word for word in words if word.startswith("--")}
    assert given <= options, f"{given} of {sorted(options)}"
    needed = [
        each for each in command.params if each.param_type_name == "argument" and each.required
    ]
    assert len(words) >= len(needed), f"{command.name} needs {[each.name for each in needed]}"


def check_job(command: str) -> None:
    """An entry point that is there, with the options that every one has."""
    words = shlex.split(command)
    assert JOB.match(command), command
    path = ROOT.joinpath(*words[2].split("."))
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    options = {word for word in words[3:] if word.startswith("--")}
    assert options <= {"--config", "--store", "--set"}


@pytest.mark.parametrize("text", YAML, ids=lambda text: text.splitlines()[0])
def test_a_config_is_what_its_job_takes(text: str) -> None:
    values: dict[str, Any] = yaml.safe_load(text)
    if "stages" in values:
        kind: Any = PipelineConfig
    elif "space" in values:
        kind = SearchConfig
    elif "objective" in values:
        flow = {"kind": "glow", "levels": 2, "depth": 2}
        values = {"name": "run", "dataset": "x", "flow": flow, "train": {"steps": 5}, **values}
        kind = TrainingConfig
    elif "autoscaling_nodes" in values:
        kind = QueueConfig
    else:
        kind = PrepareConfig
    parse_config(kind, values, source="README.md")


def test_python_runs(tmp_path: Path) -> None:
    """The blocks one after the other, smaller, with a folder as the store."""
    known = {"x": torch.randint(0, 256, (120, 3, 8, 8), dtype=torch.uint8)}
    for text in PYTHON:
        for large, small in SMALLER.items():
            text = text.replace(large, small)
        text = text.replace("s3://bucket/prefix", str(tmp_path / "store"))
        text = text.replace("steps=1000", "steps=5")
        text = text.replace("share=0.25)", "share=0.25, steps=5, samples=100, warm_start='slice')")
        exec(compile(text, "README.md", "exec"), known)
    assert known["log_prob"].shape == (16,)
    assert known["bits"].shape == (120,)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_broken(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert not [link for link in inside if not (page.parent / link).exists()]


def test_the_files_that_the_architecture_names_are_there() -> None:
    """Whole paths; bare names lie beside a path that is named before."""
    text = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    folders = [ROOT]
    for path in re.findall(r"`([\w./]+(?:\.(?:py|md|yaml)|/))`", text):
        if path.startswith("runs/"):
            continue
        if "/" in path:
            folders.append(ROOT / path if path.endswith("/") else (ROOT / path).parent)
        assert any((folder / path).exists() for folder in (ROOT, *folders)), path
