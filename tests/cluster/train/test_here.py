"""A run without Ray: where it is trained, and what it leaves to go on from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.local import up
from cluster.local_record import LocalCluster
from cluster.storage import StorageConfig
from cluster.train.here import train_here
from cluster.train.launch import run_training
from cluster.train.start import is_for_here, train_run
from flowkd.errors import ConfigError, NonFiniteError
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import SNAPSHOT, current_folder
from flowkd.training.config import TrainingConfig
from flowkd.training.logs.metrics import read_log
from flowkd.training.runs import prune_checkpoints, run_state
from tests.support.small_runs import DISTILLATION, furnish, training

EVERY_TWO = {"checkpoint_every": 2, "log_every": 1}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> StorageConfig:
    found = StorageConfig.from_uri(str(tmp_path_factory.mktemp("here") / "store"))
    furnish(found.store())
    return found


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)  # where no cluster is recorded


def weights(store: Store, run: str) -> dict[str, torch.Tensor]:
    return load_artifact(store, f"runs/{run}").flow.state_dict()


def steps_of(store: Store, run: str) -> list[dict[str, Any]]:
    """What a run logged of each step, but for its times."""
    timed = ("time", "seconds")
    return [
        {name: value for name, value in line.items() if name not in timed}
        for line in read_log(store, run)
    ]


def cut_short(store: Store, run: str) -> None:
    """Leaves what a run leaves that was killed after its last checkpoint but one."""
    folder = current_folder(store, run)
    path = (folder, SNAPSHOT)
    snapshot = store.read_json(*path)
    last = snapshot["checkpoint_results"].pop()
    snapshot["checkpoint_report_indices"].pop()
    store.write_json(
        {**snapshot, "latest_checkpoint_result": snapshot["checkpoint_results"][-1]}, *path
    )
    store.remove(folder, last["checkpoint_dir_name"])
    store.remove("runs", run, "result")
    leases = [name for name in store.list("runs", run, "lease") if name.count(".") == 1]
    store.remove("runs", run, "lease", leases[-1])  # by which it is finished


@pytest.mark.parametrize("objective", [{"kind": "maximum_likelihood"}, DISTILLATION])
def test_a_run_that_was_killed_goes_on_as_if_it_never_was(
    storage: StorageConfig, objective: dict[str, Any]
) -> None:
    store, name = storage.store(), f"killed-{objective['kind']}"
    config = training(name, objective=objective, **EVERY_TWO)
    assert train_here(config, storage) == f"runs/{name}"
    whole, log = weights(store, name), read_log(store, name)
    cut_short(store, name)
    train_here(config, storage)
    again = read_log(store, name)
    assert again[:4] == log[:4], "was trained again from its start"
    assert [line["time"] for line in again[4:]] != [line["time"] for line in log[4:]]
    assert [line["loss"] for line in again] == [line["loss"] for line in log]
    for one, other in zip(whole.values(), weights(store, name).values(), strict=True):
        assert torch.equal(one, other)


def test_the_last_checkpoints_stay_and_may_be_pruned(storage: StorageConfig) -> None:
    store = storage.store()
    config = training("pruned", **EVERY_TWO)
    train_here(config, storage)
    kept = run_state(store, "pruned").checkpoints
    assert len(kept) == 2
    log = read_log(store, "pruned")
    store.remove("runs", "pruned", "result")
    prune_checkpoints(store, 1, "pruned")
    assert run_state(store, "pruned").checkpoints[-1] == kept[-1]
    train_here(config, storage)
    assert read_log(store, "pruned") == log, "went on from another checkpoint than the last"


def test_this_process_leaves_what_ray_does_and_goes_on_from_it(
    storage: StorageConfig, ray_driver: None
) -> None:
    store = storage.store()
    for name in ("here", "on-ray"):
        config = training(name, objective=DISTILLATION, **EVERY_TWO)
        first = train_here if name == "here" else run_training
        first(config, storage)
    assert steps_of(store, "here") == steps_of(store, "on-ray")
    ours, theirs = weights(store, "here"), weights(store, "on-ray")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    folders = [set(store.list("runs", name)) for name in ("here", "on-ray")]
    assert folders[0] == folders[1]

    log = read_log(store, "on-ray")
    store.remove("runs", "on-ray", "result")
    train_here(training("on-ray", objective=DISTILLATION, **EVERY_TWO), storage)
    assert read_log(store, "on-ray") == log, "did not go on from Ray Train's last checkpoint"
    assert all(torch.equal(theirs[n], value) for n, value in weights(store, "on-ray").items())


def test_what_is_wrong_is_said_with_the_name_of_the_run(storage: StorageConfig) -> None:
    wild = {"steps": 200, "learning_rate": 1e6, "warmup_steps": 0}
    with pytest.raises(NonFiniteError, match=r"run 'wild': step \d+: \w+.* is (nan|inf)"):
        train_here(training("wild", train=wild), storage)
    train_here(training("taken"), storage)
    with pytest.raises(ConfigError, match=r"run 'taken' exists .*batch_size was 8, now 4"):
        train_here(training("taken", batch_size=4), storage)
    with pytest.raises(ConfigError):
        train_here(training("none", flow={"kind": "glow", "levels": 1}), storage)
    assert not storage.store().exists("runs", "none")


def sized(steps: int, **scaling: Any) -> TrainingConfig:
    train = {"steps": steps, "warmup_steps": 2}
    return training("sized", train=train, scaling=scaling)


def test_a_small_run_is_trained_here_and_says_so(
    storage: StorageConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_for_here(sized(6), storage)
    said = capsys.readouterr().out
    assert re.fullmatch(r"in this process: about \d+ s; --cluster asks for Ray\n", said)


@pytest.mark.parametrize(
    ("config", "here"),
    [
        (sized(10**9), False),
        (sized(6, workers=2), False),
        (sized(6, gpu=True), False),
        (sized(6, run_on="cluster"), False),
        (sized(10**9, run_on="local"), True),
        (sized(10**9, run_on="local", gpu=True), True),
    ],
)
def test_others_are_trained_where_they_say_or_on_ray(
    storage: StorageConfig,
    capsys: pytest.CaptureFixture[str],
    config: TrainingConfig,
    here: bool,
) -> None:
    assert is_for_here(config, storage) is here
    assert not capsys.readouterr().out


def test_where_there_is_a_cluster_it_is_taken(
    storage: StorageConfig, ray_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Path(".flowkd/cluster.json")
    record.parent.mkdir()
    record.write_bytes(Path(ray_cluster.record).read_bytes())
    assert up() == ray_cluster
    assert not is_for_here(sized(6), storage)
    record.unlink()
    assert is_for_here(sized(6), storage)
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
    assert not is_for_here(sized(6), storage)


def test_a_finished_run_needs_no_ray(storage: StorageConfig) -> None:
    train_here(training("done"), storage)
    assert train_run(training("done", scaling={"run_on": "cluster"}), storage) == "runs/done"
    assert not Path(".flowkd").exists(), "a cluster was started for it"


def test_this_process_is_one_worker() -> None:
    with pytest.raises(ValueError, match=r"expected workers: 1 for run_on: local.*; got 2"):
        sized(6, run_on="local", workers=2)
