"""Every block of code in README.md and docs/ runs, one page after the other, made smaller.

Pages share a folder of data, a store and a service, which the tutorials make, as their readers do.
What needs more than that says so in its first line, and is checked by tests/test_docs.py alone.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from ray import serve
from typer.testing import CliRunner

from flowkd.store.store import Store
from jobs.cli.main import app
from tests.support import ROOT
from tests.support.blocks import PAGES, Block, blocks, commands, name_of

# The pages that make what the others use, in their order.
FIRST = ("docs/tutorials/table.md", "docs/howto/distil.md", "docs/tutorials/pictures.md")
GENERATED = ("docs/reference/cli.md", "docs/reference/config.md", "docs/reference/http.md")
RUN = [page for page in PAGES if name_of(page) not in (*FIRST, *GENERATED) and blocks(page)]
# What other tests run, word by word, on clusters of their own.
ELSEWHERE = {
    "make ": "tests/jobs/test_quickstart.py",
    "flowkd up": "tests/jobs/cli/test_cluster.py",
    "flowkd status": "tests/jobs/cli/test_cluster.py",
    "flowkd env": "tests/jobs/cli/test_cluster.py",
    "flowkd down": "tests/jobs/cli/test_cluster.py",
    'eval "$(flowkd env)"': "tests/jobs/cli/test_cluster.py",
    "ray job submit": "tests/jobs/cli/test_cluster.py",
    "flowkd models export": "tests/flowkd/flows/engine/test_export.py",  # half a minute each
    "flowkd doctor": "tests/jobs/cli/test_doctor.py",  # the port of a service may be taken here
}
LOCAL = {"scaling": {"run_on": "local"}}
BRIEF = {"train": {"steps": 8, "warmup_steps": 2}, "batch_size": 16, "validate_every": 4}
RUN_BRIEF = {**BRIEF, "train": {**BRIEF["train"], "learning_rate": 0.01}}
SAMPLES = {"rows": 50}
DEPLOY = "python -m jobs.deploy --config deploy.yaml"
MODELS = {name: f"models/{name}@best" for name in ("stars", "photos")}
FLOWS = {
    "stars": {"kind": "coupling", "depth": 4, "width": 8},
    "photos": {"kind": "glow", "levels": 1, "depth": 2, "width": 8},
}
# What is said of the files of the pages besides, each of which is a block.
FILES: dict[str, dict[str, Any]] = {
    "teacher.yaml": RUN_BRIEF,
    "distilled.yaml": RUN_BRIEF,
    "weighted.yaml": RUN_BRIEF,
    "taught.yaml": RUN_BRIEF,
    "adapted.yaml": RUN_BRIEF,
    "evaluate.yaml": {"seconds": 0.05},
    "publish.yaml": {"force": True},
    "search.yaml": {**BRIEF, "trials": 1, "final": None},
}
# Sizes of which there are many on the pages, and few here.
SMALLER = {
    "5_000": "300",
    "10_000, 3, 32, 32": "120, 3, 8, 8",
    "(3, 32, 32)": "(3, 8, 8)",
    "2_000": "200",
    "levels=3, depth=8, width=128": "levels=2, depth=4, width=8",
    "depth=6, width=32": "depth=4, width=8",
    "depth=3, width=16": "depth=2, width=8",
    "range(1_000)": "range(10)",
    "transforms=3, hidden_features=(64, 64)": "transforms=1, hidden_features=(8,)",
    "steps=1000": "steps=5, learning_rate=0.01",
    "steps=500": "steps=5, learning_rate=0.01",
    "share=0.25)": "share=0.25, steps=5, learning_rate=0.01, samples=50, warm_start='slice')",
    ".save(f": ".resize((40, 40)).save(f",
}


class Reader:
    """Does what pages say, in folders of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.later: list[tuple[Path, str]] | None = []  # asked once the service is there

    def read(self, page: Path) -> None:
        """Runs the blocks of a page, where the files are that the pages before it have made."""
        here = self.folder / name_of(page).replace("/", "-")
        shutil.copytree(self.folder / "begin", here)
        if name_of(page) == "README.md":
            (here / "stars.yaml").unlink()  # it makes its own
        known = {"x": torch.randint(0, 256, (120, 3, 8, 8), dtype=torch.uint8)}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(here)
            patch.syspath_prepend(str(here))
            for block in blocks(page):
                if block.language == "sh" and block.runs:
                    for line in commands(block):
                        self.type(line)
                elif block.language == "python" and block.file:
                    (here / block.file).write_text(self.smaller(block), encoding="utf-8")
                elif block.language == "python" and block.runs:
                    exec(compile(self.smaller(block), name_of(page), "exec"), known)

    def keep(self, page: str, *names: str) -> None:
        """Lets the pages that follow have files of a page."""
        for name in names:
            made = self.folder / page.replace("/", "-") / name
            copy = shutil.copytree if made.is_dir() else shutil.copy
            copy(made, self.folder / "begin" / name)

    def smaller(self, block: Block) -> str:
        """Returns Python whose sizes are small, and whose store and service are those of here."""
        text = block.text.replace("localhost:8000", f"localhost:{self.port}")
        for large, small in SMALLER.items():
            text = text.replace(large, small)
        return text.replace("s3://bucket/prefix", os.environ["FLOWKD_STORE"])

    def type(self, line: str) -> None:
        """Runs a command: in this process what is flowkd's own, where torch is imported already."""
        if line.startswith(tuple(ELSEWHERE)) or line == ". .venv/bin/activate":
            return
        words = shlex.split(line)
        if words[0] == "flowkd":
            done = CliRunner().invoke(app, [*words[1:], *self.settings(words)])
            assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception}"
        elif words[0] == "python":
            self.run_job(words[2], [*words[3:], *self.settings(words)])
        else:
            assert words[0] == "curl", line
            if self.later is not None:
                self.later.append((Path.cwd(), line))
                return
            asked = line.replace("curl -s", "curl -sS --fail-with-body").replace(
                "localhost:8000", f"localhost:{self.port}"
            )
            done = subprocess.run(
                ["bash", "-c", asked], capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    def serve(self) -> None:
        """Deploys the models of all pages at once, and asks what was to be asked of them."""
        later, self.later = self.later or [], None
        for folder, line in [(self.folder / "begin", DEPLOY), *later]:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                self.type(line)

    def run_job(self, module: str, words: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [module, *words])
            with pytest.raises(SystemExit) as ended:
                runpy.run_module(module, run_name="__main__")
        assert not ended.value.code, f"python -m {module} {' '.join(words)}"

    def settings(self, words: list[str]) -> list[str]:
        """Returns what makes a command smaller, and leads it to the port that is free here."""
        found: dict[str, object] = {}
        if words[:2] in (["flowkd", "run"], ["flowkd", "submit"]) and words[2].endswith(".yaml"):
            name = words[2].removesuffix(".yaml")
            objective = {"share": 0.6, "samples": SAMPLES}
            place = LOCAL if words[1] == "run" else {}
            found = {
                "teacher": {**RUN_BRIEF, **place, "flow": FLOWS[name]},
                "student": {**RUN_BRIEF, **place, "objective": objective},
                "evaluate": {"seconds": 0.05, "rows": 100},
                "publish": {"force": True},  # flows of so few steps are worse than a Gaussian
                "deploy": "none",  # see `serve`
            }
        elif words[:3] == ["flowkd", "models", "import"]:
            return ["--force"]  # a flow of so few steps is worse than a Gaussian
        elif words[0] == "python" and words[2] in ("jobs.train_teacher", "jobs.distill"):
            return ["--local"]  # on the cluster of the tests it takes half a minute
        elif words[:3] == ["python", "-m", "jobs.deploy"]:
            found = {"port": self.port, "models": MODELS}
        return [f"--set={key}={json.dumps(value)}" for key, value in found.items()]


@pytest.fixture(scope="module")
def reader(
    ray_driver: None, serve_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    """Who has read the tutorials: their data, models and service are there."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "begin").mkdir()
    for page in PAGES:
        for block in blocks(page, "yaml"):
            if block.file:
                values = {**yaml.safe_load(block.text), **FILES.get(block.file, {})}
                text = yaml.safe_dump(values, sort_keys=False)
                (folder / "begin" / block.file).write_text(text, encoding="utf-8")
    reader = Reader(folder, serve_port)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWKD_STORE", str(folder / "store"))
        try:
            for name in FIRST:
                reader.read(ROOT / name)
                if name == FIRST[0]:
                    reader.keep(name, "stars.csv")
            reader.keep(FIRST[0], "stars.yaml")
            reader.keep(FIRST[2], "photos")
            reader.serve()
            yield reader
        finally:
            serve.shutdown()


def test_the_tutorials_make_what_they_say(reader: Reader) -> None:
    table = reader.folder / FIRST[0].replace("/", "-")
    assert (table / "stars.html").read_text().lower().startswith("<!doctype html>")
    pictures = reader.folder / FIRST[2].replace("/", "-")
    with Image.open(pictures / "samples.png") as image:
        assert np.asarray(image).std() > 0
    store = Store(os.environ["FLOWKD_STORE"])
    assert {"stars", "photos", "small-stars"} <= set(store.list("models"))


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_a_page_runs(reader: Reader, page: Path) -> None:
    reader.read(page)


def test_what_runs_elsewhere_does() -> None:
    for line, file in ELSEWHERE.items():
        word = re.sub(r'^eval "\$\(|^\. |\)"$', "", line).split()[-1].split("/")[-1]
        assert word in (ROOT / file).read_text(encoding="utf-8"), (line, file)
