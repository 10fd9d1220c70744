"""The wheel is whole, and what an extra brings is named where it is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import flowkd
from flowkd.store.store import Store
from jobs.cli.main import PLACES
from tests.support import ROOT
from tests.support.small_runs import furnish

WITHOUT = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "optuna", "httpx", "orjson", "s3fs"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from jobs.cli.main import app
app(sys.argv[1:], prog_name="flowkd")
"""


def call(*command: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**environment, **more},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that has the wheel, and finds all else in this one."""
    pytest.importorskip("setuptools")
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    for name in ("flowkd", "cluster", "tuning", "jobs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    done = call(sys.executable, "-c", build, cwd=source)
    assert done.returncode == 0, done.stderr
    wheel = place / done.stdout.split()[-1]
    assert wheel.name.startswith(f"flowkd-{flowkd.__version__}-py3")
    venv.create(place / "fresh")
    python = place / "fresh/bin/python"
    packages = Path(
        call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place)
        .stdout.strip()
    )  # fmt: skip
    done = call(
        sys.executable, "-m", "pip", f"--python={python}", "install", "--no-deps", "--no-index",
        wheel, cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Packages of this environment are behind its own; whatever is here in editable mode is not.
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "fresh/bin"


def test_a_wheel_is_a_working_flowkd(installed: Path, tmp_path: Path) -> None:
    done = call(installed / "flowkd", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"flowkd {flowkd.__version__}\n"), done.stderr
    done = call(installed / "flowkd", "--help", cwd=tmp_path)
    assert all(re.search(rf" {name} ", done.stdout) for name in PLACES)
    done = call(installed / "flowkd", "data", "import", "digits", "--store", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = call(installed / "flowkd", "config", "schema", "run", cwd=tmp_path)
    assert "learning_rate" in done.stdout
    show = "import flowkd, importlib.metadata as m; print(flowkd.__file__, m.version('flowkd'))"
    file, version = call(installed / "python", "-c", show, cwd=tmp_path).stdout.split()
    assert Path(file).is_relative_to(installed.parent)
    assert version == flowkd.__version__
    here = Path(file).parent.parent
    for name in ("flowkd", "cluster", "tuning", "jobs"):
        kept = {
            path.relative_to(ROOT)
            for path in (ROOT / name).rglob("*")
            if path.suffix in (".py", ".yaml", ".html", ".typed") and path.is_file()
        }
        assert {path for path in kept if not (here / path).exists()} == set()


def test_without_the_clusters_extra_what_needs_none_works(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    furnish(store)
    words = {"PYTHONPATH": str(ROOT), "FLOWKD_STORE": store.uri, "COLUMNS": "200"}
    for command in ("runs list", "queue --once"):
        done = call(sys.executable, "-c", WITHOUT, *command.split(), cwd=tmp_path, **words)
        assert done.returncode == 0, done.stderr
    (tmp_path / "run.yaml").write_text(
        "name: alone\ndataset: walks\nbatch_size: 8\n"
        "train: {steps: 2, learning_rate: 0.001, warmup_steps: 1}\n"
    )
    local = WITHOUT.replace("from jobs.cli.main import app\n", "").replace(
        'app(sys.argv[1:], prog_name="flowkd")', "import runpy\n"
        "runpy.run_module('jobs.train_teacher', run_name='__main__', alter_sys=True)"
    )  # fmt: skip
    arguments = ("--config", "run.yaml", "--local")
    done = call(sys.executable, "-c", local, *arguments, cwd=tmp_path, **words)
    assert done.returncode == 0, done.stderr
    assert store.exists("runs", "alone", "result", "manifest.json")


def test_what_needs_the_clusters_extra_names_it(tmp_path: Path) -> None:
    asked = WITHOUT.replace(
        "app(sys", "from cluster.exits import exits\nwith exits(): import ray\n#"
    )
    done = call(sys.executable, "-c", asked, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert done.stderr == (
        "error: this needs ray, which is not installed: pip install 'flowkd[cluster]'\n"
    )
