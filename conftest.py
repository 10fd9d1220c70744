"""What every test and every example of a docstring has: one thread, one seed, and names."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
# Graphs of a flow take seconds to build: only the tests of them do, and beside each other once.
os.environ.setdefault("FLOWKD_ENGINE", "torch")
if "FLOWKD_CACHE" not in os.environ:
    os.environ["FLOWKD_CACHE"] = tempfile.mkdtemp(prefix="flowkd-tests-")
    atexit.register(shutil.rmtree, os.environ["FLOWKD_CACHE"], ignore_errors=True)

import pytest
import torch

import flowkd

pytest_plugins = ["tests.support.order"]

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]) -> None:
    """Names that the examples of docstrings use without importing them."""
    doctest_namespace.update(flowkd=flowkd, torch=torch)
