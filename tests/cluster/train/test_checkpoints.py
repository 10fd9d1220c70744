"""Checkpoints hold plain values, and what else is in their place is refused, never executed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.train.checkpoints import STATE, read_state, write_state
from flowkd.errors import StoreError


class Bomb:
    """A pickle of it creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_state_is_read_back(tmp_path: Path) -> None:
    state = {"step": 3, "best": {"a": torch.arange(4.0)}, "bits": 2.5, "groups": [1, None, "x"]}
    write_state(state, tmp_path)
    found = read_state(tmp_path, "cpu")
    assert torch.equal(found["best"].pop("a"), state["best"].pop("a"))
    assert found == state


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_no_checkpoint_is_refused_and_not_executed(tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    torch.save(Bomb(executed), tmp_path / STATE)
    torch.load(tmp_path / STATE, weights_only=False)
    assert executed.exists()
    executed.unlink()
    whole = (tmp_path / STATE).read_bytes()
    for data in (whole, pickle.dumps(Bomb(executed)), whole[: len(whole) // 2], b"", b"text"):
        (tmp_path / STATE).write_bytes(data)
        with pytest.raises(StoreError, match=r"last checkpoint cannot be read: .*another name"):
            read_state(tmp_path, "cpu")
    assert not executed.exists()
