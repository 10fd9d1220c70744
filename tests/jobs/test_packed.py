"""What `ray job submit --working-dir .` takes along is small, and jobs run from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from flowkd.config import dump_config
from flowkd.store.store import Store
from jobs.cli.cluster import keep_from_ray
from tests.support import ROOT
from tests.support.small_runs import furnish, training

MIB = 2**20
MOST = 4 * MIB
# What a checkout that is worked in holds besides.
LARGE = [
    ".venv/lib/torch.so", ".git/objects/pack/pack-1.pack", "results/bench.bin", "store/datasets/a",
    ".flowkd/log", ".mypy_cache/3.11/a.json", ".pytest_cache/v/a", "report.html",
    "flowkd/__pycache__/a.pyc",
]  # fmt: skip


def packed(folder: Path, archive: Path) -> zipfile.ZipFile:
    """Packs a folder as Ray does, whose working directory it is to be."""
    create_package(
        str(folder), archive, include_gitignore=True, excludes=get_runtime_env_default_excludes()
    )
    return zipfile.ZipFile(archive)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of this repository in which somebody works."""
    copy = tmp_path_factory.mktemp("checkout") / "flowkd"
    left = {".venv", ".git", "store", "results"}

    def ignored(folder: str, names: list[str]) -> set[str]:
        caches = {name for name in names if name == "__pycache__" or name.endswith("_cache")}
        return caches | (left if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
    for name in LARGE:
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(MOST))
    return copy


def test_a_checkout_is_packed_small_and_jobs_run_from_it(checkout: Path, tmp_path: Path) -> None:
    with packed(checkout, tmp_path / "packed.zip") as archive:
        names = archive.namelist()
        assert sum(each.file_size for each in archive.infolist()) < MOST
        assert not [name for name in names if name in LARGE or name.startswith("tests/")]
        archive.extractall(tmp_path / "unpacked")
    store = Store(str(tmp_path / "store"))
    furnish(store)
    (tmp_path / "run.yaml").write_text(dump_config(training("new")), encoding="utf-8")
    others = ("RAY_ADDRESS", "PYTHONPATH")
    command = ["--config", str(tmp_path / "run.yaml"), "--store", store.uri, "--local"]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.train_teacher", *command],
        cwd=tmp_path / "unpacked",
        env={name: value for name, value in os.environ.items() if name not in others},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert store.exists("runs", "new", "result", "manifest.json")


def test_a_store_in_the_folder_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    store = Store("./kept")
    store.write(bytes(MIB), "datasets", "a")
    (folder / "run.yaml").write_text("name: new", encoding="utf-8")
    keep_from_ray(store)
    keep_from_ray(Store("memory://x"))
    with packed(folder, tmp_path / "packed.zip") as archive:
        assert archive.namelist() == ["run.yaml"]
    assert store.list("datasets") == ["a"]
