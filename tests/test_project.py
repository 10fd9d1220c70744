"""The project's own habits: style, types, import directions, pins, targets, no Ray in flowkd."""

import importlib.metadata
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

CHECKS = {
    "style": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "imports": ["lint-imports", "--no-cache"],
}
ALONE = """
    import importlib, pkgutil, sys

    # What flowkd may not need: the cluster's packages, and the project's own above it.
    absent = (
        "ray s3fs aiobotocore boto3 typer httpx orjson fastapi skimage sklearn h5py"
        " cluster tuning jobs"
    ).split()
    sys.modules.update(dict.fromkeys(absent))

    import flowkd

    def fail(name):
        raise

    for module in pkgutil.walk_packages(flowkd.__path__, "flowkd.", onerror=fail):
        importlib.import_module(module.name)
        print(module.name)

    import torch
    from flowkd.flows.coupling import CouplingConfig
    from flowkd.flows.build import build_flow

    flow = build_flow(CouplingConfig(event_shape=(3,), mean=0.0, scale=1.0, depth=2, width=8))
    x = flow.sample(5, generator=torch.Generator().manual_seed(0))
    assert flow.log_prob(x).isfinite().all()
    print("works")
"""


def run(*command):
    """Runs a command as if typed: a make that runs these tests must not make it a sub-make."""
    env = {name: value for name, value in os.environ.items() if not re.match("M(AKE|FLAGS)", name)}
    return subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS)
def test_lint(command):
    tool, *arguments = command
    done = run(str(Path(sys.executable).parent / tool), *arguments)
    assert done.returncode == 0, f"{' '.join(command)} found:\n{done.stdout}"


def test_flowkd_imports_and_works_without_ray():
    done = run(sys.executable, "-c", textwrap.dedent(ALONE))
    assert done.returncode == 0, done.stdout
    imported = set(done.stdout.split())
    files = [file.relative_to(ROOT).with_suffix("") for file in ROOT.glob("flowkd/**/*.py")]
    modules = {".".join(file.parts).removesuffix(".__init__") for file in files} - {"flowkd"}
    assert imported == modules | {"works"}


def test_pins_name_a_package_and_a_public_version():
    faulty = [pin for pin in pins() if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", pin)]
    assert not faulty, "no address, folder or local version in constraints.txt: make constraints"
    assert len({pin.split("==")[0].lower() for pin in pins()}) == len(pins())


def test_everything_asked_for_is_pinned_at_what_is_tested():
    metadata = project()["project"]
    extras = metadata["optional-dependencies"].values()
    asked = [Requirement(text) for group in [metadata["dependencies"], *extras] for text in group]
    here = [item for item in asked if not item.marker or item.marker.evaluate()]
    names = {canonicalize_name(item.name): item for item in here if item.name != "flowkd"}
    pinned = {canonicalize_name(pin.split("==")[0]): pin.split("==")[1] for pin in pins()}
    assert set(names) <= set(pinned), "a dependency is not pinned: make constraints"
    for name, item in names.items():
        installed = importlib.metadata.version(name).split("+")[0]
        assert pinned[name] == installed, f"{name} {installed} is tested: make constraints"
        assert item.specifier.contains(pinned[name])


def test_the_environment_is_refused_to_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\n[ $1 = --version ] && echo Python 3.10.0\nexit 1\n")
    old.chmod(0o755)
    done = run("make", "venv", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert f"flowkd needs Python >= 3.11; {old} is Python 3.10.0" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_every_target_is_explained():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)[1].split())
    done = run("make")
    assert done.returncode == 0, done.stdout
    assert {line.split()[0] for line in done.stdout.splitlines()} == targets
    assert {"venv", "quickstart", "down", "test", "lint", "bench", "clean"} <= targets


def test_ci_runs_the_tests_and_nothing_else():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "make test"]


def test_what_hangs_fails_once_and_the_rest_is_run(tmp_path):
    """As pyproject.toml says, but for the seconds; `make test` sees it as this test does."""
    (tmp_path / "test_a.py").write_text(
        "import time\n\ndef test_before(): pass\n\ndef test_hangs(): time.sleep(600)\n\n"
        "def test_after(): pass\n"
    )
    (tmp_path / "test_b.py").write_text("def test_elsewhere(): pass\n")
    done = run(
        *(sys.executable, "-m", "pytest", f"--config-file={ROOT / 'pyproject.toml'}"),
        *("-p", "tests.support.order", f"--rootdir={tmp_path}", "-n", "2"),
        *("-o", "faulthandler_timeout=1", str(tmp_path)),
    )
    assert "test_hangs" in done.stdout.split("most recent call first")[-1], "its stack is shown"
    assert re.search(r"worker '\w+' crashed while running '.*::test_hangs'", done.stdout)
    assert "1 failed, 3 passed" in done.stdout
    assert project()["tool"]["pytest"]["ini_options"]["faulthandler_timeout"] > 0
