"""What every test and every example of a docstring has: one thread, one seed, and names."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

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
