"""Ctrl-C of a training says what is kept, and the same command goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowkd.config import dump_config
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import current_checkpoints
from jobs.cli.interrupted import tells_what_is_kept
from tests.support import ROOT
from tests.support.queues import wait_for
from tests.support.small_runs import furnish, training


def test_before_the_first_checkpoint_it_begins_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), tells_what_is_kept(Store("memory://none"), "a"):
        raise KeyboardInterrupt
    said = capsys.readouterr().err
    assert said == "runs/a has no checkpoint yet: the same command begins it again\n"


def _hears_ctrl_c() -> None:
    """Undoes what a shell does to the tests if they are started in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_of_a_training_says_which_checkpoint_is_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    furnish(store)
    train = {"steps": 1_000_000, "learning_rate": 0.001}
    config = training("long", train=train, checkpoint_every=5)
    (tmp_path / "long.yaml").write_text(dump_config(config), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.train_teacher", "--config", str(tmp_path / "long.yaml"),
         "--store", store.uri, "--local"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        preexec_fn=_hears_ctrl_c,
    )  # fmt: skip
    try:
        wait_for(lambda: bool(current_checkpoints(store, "long")), seconds=240)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    kept, ended = said.splitlines()[-2:]
    last = current_checkpoints(store, "long")[-1]
    assert kept == (
        f"runs/long keeps its last checkpoint, {last}: the same command goes on from there"
    )
    assert ended == "interrupted"
