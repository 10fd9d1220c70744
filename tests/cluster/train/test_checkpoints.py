"""Checkpoints hold plain values, and what else is in their place is refused, never executed."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.train.checkpoints import SEAL, STATE, read_state, restore_run, save_run, write_state
from flowkd.errors import StoreError
from flowkd.store.store import Store
from flowkd.training.logs.metrics import RunLog, read_log
from tests.support.small_runs import prepared, training


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
        (tmp_path / SEAL).write_text(hashlib.sha256(data).hexdigest())
        with pytest.raises(StoreError, match=r"state.pt is no checkpoint: "):
            read_state(tmp_path, "cpu")
        (tmp_path / SEAL).write_text("0" * 64)
        with pytest.raises(StoreError, match=r"expected state.pt of SHA-256 b'000000000000'"):
            read_state(tmp_path, "cpu")
        (tmp_path / SEAL).unlink()
        with pytest.raises(StoreError, match=r"state.sha256 is missing"):
            read_state(tmp_path, "cpu")
    assert not executed.exists()


def train_until(store: Store, name: str, folder: Path, stop: int, flushes: int) -> None:
    """Trains from the last checkpoint to a step, and ends as a process that is killed does.

    Its log, of a line a step, writes after some steps alone; what it holds then is lost.
    """
    run = prepared(training(name, log_every=1, checkpoint_every=2), store)
    unwritten = restore_run(run, read_state(folder, "cpu")) if (folder / STATE).exists() else []
    log = RunLog(store, name, run.step, unwritten)
    for result in run.steps():
        log.append(run.record(result))
        if result.step % 2 == 0:
            save_run(run, log, folder)
        if result.step % flushes == 0:
            log.flush()
        if result.step == stop:
            return
    log.flush()


@pytest.mark.parametrize("flushes", [1, 3, 100])
def test_a_training_that_is_killed_again_and_again_has_every_line_of_its_log(
    taught_store: Store, tmp_path: Path, flushes: int
) -> None:
    def lines(name: str) -> list[dict[str, Any]]:
        timed = ("time", "seconds")
        records = read_log(taught_store, name)
        return [{key: each[key] for key in each if key not in timed} for each in records]

    (tmp_path / "calm").mkdir()
    train_until(taught_store, "calm", tmp_path / "calm", 0, 1)
    for stop in (1, 3, 3, 5, 5, 0):
        train_until(taught_store, "killed", tmp_path, stop, flushes)
    assert lines("killed") == lines("calm")
    assert [line["step"] for line in lines("killed")] == [1, 2, 3, 4, 5, 6]
