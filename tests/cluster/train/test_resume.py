"""A bit flipped in anything that a run goes on from is refused by name, or changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cluster.storage import StorageConfig
from cluster.train.checkpoints import SEAL, STATE, save_run
from cluster.train.launch import run_training
from cluster.train.preflight import check_name
from cluster.train.resume import (
    _fault_of_snapshot,
    forget_damaged_snapshot,
    resume_run,
)
from cluster.train.takeover import take_over_checkpoints
from flowkd.errors import FlowkdError, StoppedError
from flowkd.registry.artifacts import PARTS, load_artifact
from flowkd.store import lease
from flowkd.store.lease import sign
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import (
    SNAPSHOT,
    checkpoint_names,
    checkpoints_folder,
    current_checkpoints,
    current_folder,
)
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import load_data
from flowkd.training.lease import take
from flowkd.training.logs.metrics import RunLog, read_log
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import record_run, resolve_run
from flowkd.training.setup import run_in_process
from tests.support.damage import damaged, flipped, objects_below
from tests.support.small_runs import DISTILLATION, furnish, training

FLIPS = 4
FIRST = "runs/student/checkpoints/00000001"
NAMES = [f"checkpoint_2026-01-0{n}" for n in range(1, 10)]
# How Ray Train notes two checkpoints.
NOTED = {
    "ray_version": "2.60.0",
    "checkpoint_results": [
        {"version": 0, "checkpoint_dir_name": name, "metrics": {"step": 2}} for name in NAMES[:2]
    ],
    "checkpoint_report_indices": [0, 1],
    "latest_checkpoint_result": {"version": 0, "checkpoint_dir_name": NAMES[1], "metrics": {}},
    "pending_training_results": [],
    "pending_validation_specs": [],
    "current_report_index": 2,
    "validated_checkpoint_dir_names": [],
    "timed_out_validation_checkpoint_dir_names": [],
    "failed_validation_checkpoint_dir_names": [],
}
CONFIG = training("student", objective=DISTILLATION, log_every=1, checkpoint_every=2)


def train(storage: StorageConfig, config: TrainingConfig = CONFIG, stop: int = 0) -> None:
    """Trains as a worker does, from the last checkpoint to a step, or to the end."""
    store = storage.store()
    check_name(config, store)
    resolved = resolve_run(config, store)
    token = take(store, config.name, config.train.steps)
    record_run(config, resolved, store)
    take_over_checkpoints(token)
    forget_damaged_snapshot(token)
    run = prepare_run(resolved, load_data(resolved, store))
    folder = checkpoints_folder(token)
    names = checkpoint_names(store, folder)
    known = store.exists(folder, SNAPSHOT)
    unwritten = resume_run(run, storage, folder, names[-1] if names and known else None)
    with RunLog(store, config.name, run.step, unwritten, token.number) as log:
        for result in run.steps():
            log.append(run.record(result))
            if result.step % 2 == 0:
                number = len(checkpoint_names(store, folder))
                place = Path(store.path(folder, NAMES[number]))
                place.mkdir(parents=True)
                save_run(run, log, place)
            if result.step == stop:
                break
    if stop:
        sign(token, 1, released=True)
    else:
        run.finish(store, 0.0, token)


def result_of(store: Store, name: str = "student") -> tuple[dict[str, torch.Tensor], list[float]]:
    flow = load_artifact(store, f"runs/{name}").flow
    return flow.state_dict(), [line["loss"] for line in read_log(store, name)]


@pytest.fixture
def storage(local_store: Store) -> StorageConfig:
    """A store with a run that was stopped after step 5, of which it has checkpoints of 2 and 4."""
    furnish(local_store)
    storage = StorageConfig(uri=local_store.uri)
    train(storage, stop=5)
    local_store.write_json(NOTED, FIRST, SNAPSHOT)
    return storage


OF_A_RUN = {
    f"checkpoints/00000001/{NAMES[1]}/{STATE}": "repaired",
    f"checkpoints/00000001/{NAMES[1]}/{SEAL}": "repaired",
    f"checkpoints/00000001/{NAMES[0]}/{STATE}": "unread",
    f"checkpoints/00000001/{NAMES[0]}/{SEAL}": "unread",
    f"checkpoints/00000001/{SNAPSHOT}": "unread or repaired",
    "config.yaml": "refused",
    "resolved.yaml": "refused",
    "lease/00000001.json": "unread",
    "lease/00000001.alive.json": "unread",
    "metrics/00000001-0001-0-00000000.jsonl": "refused",
    "events/events.out.tfevents.00000001-0001-00000000": "unread",  # the first of some
}


def test_these_are_all_objects_of_a_run(storage: StorageConfig) -> None:
    found = [
        path
        for path in objects_below(storage.store(), "runs", "student")
        if "/events/" not in path or path.endswith("-00000000")
    ]
    assert sorted(found) == sorted(f"runs/student/{name}" for name in OF_A_RUN)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *((f"runs/student/{name}", what) for name, what in OF_A_RUN.items()),
        ("runs/teacher/result/manifest.json", "refused"),
        *((f"runs/teacher/result/PARTS/{name}", "refused") for name in PARTS),
        ("datasets/walks/manifest.json", "unread"),  # of which the run has its own
        ("datasets/walks/SHARD", "refused"),
    ],
)
def test_a_flipped_bit_is_refused_or_changes_nothing(
    storage: StorageConfig,
    path: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    store = storage.store()
    told = path
    if path.endswith("SHARD"):
        path = next(each for each in objects_below(store, "datasets", "walks") if "train-" in each)
        told = path.rpartition("/")[2]
    if "PARTS" in path:
        name = path.rpartition("/")[2]
        parts = objects_below(store, "runs", "teacher", "result")
        path = told = next(p for p in parts if p.count("/") == 4 and p.endswith(name))
    if path.endswith((STATE, SEAL)):
        told = path.split("/")[-2]
    if path.endswith(SNAPSHOT):
        told = SNAPSHOT
    calm = training("calm", objective=DISTILLATION, log_every=1)
    train(storage, calm)
    wanted, losses = result_of(store, "calm")
    before = {each: store.read(each) for each in objects_below(store, "runs", "student")}
    for seed in range(FLIPS):
        capsys.readouterr()
        with damaged(store, path, seed):
            try:
                train(storage)
                found, lines = result_of(store)
                outcome = "unread"
            except FlowkdError as error:
                outcome = "refused" if told in str(error) else f"refused without a name: {error}"
        said = capsys.readouterr().out
        if outcome == "unread" and f"{told} is damaged" in said:
            outcome = "repaired"
        assert outcome in expected
        if outcome != "refused":
            assert lines == losses
            assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        store.remove("runs", "student")
        for each, data in before.items():
            store.write(data, each)


def test_where_no_checkpoint_is_whole_a_run_begins_anew_and_says_so(
    storage: StorageConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    store = storage.store()
    train(storage, training("calm", objective=DISTILLATION, log_every=1))
    for name in NAMES[:2]:
        store.write(b"no state", FIRST, name, STATE)
    train(storage)
    said = capsys.readouterr().out
    assert all(f"{name} is damaged" in said for name in NAMES[:2])
    assert "run 'student' has no checkpoint that is whole: from the beginning" in said
    found, wanted = result_of(store), result_of(store, "calm")
    assert found[1] == wanted[1]
    assert all(torch.equal(found[0][name], wanted[0][name]) for name in wanted[0])


def test_a_worker_goes_on_from_what_all_of_them_can_read(storage: StorageConfig) -> None:
    resolved = resolve_run(CONFIG, storage.store())
    run = prepare_run(resolved, load_data(resolved, storage.store()))
    faults = iter([1.0, 0.0])  # of the others

    def over_workers(ours: torch.Tensor) -> torch.Tensor:
        return ours + next(faults)

    resume_run(run, storage, FIRST, NAMES[1], over_workers)
    assert run.step == 2


STEPS = 3000
LONG = {
    "train": {"steps": STEPS, "learning_rate": 1e-3, "warmup_steps": 2},
    "validate_every": 1500,
    "checkpoint_every": 500,
    "scaling": {"max_failures": 0},
}


def test_a_run_on_ray_goes_on_from_the_checkpoint_before_a_damaged_one(
    local_store: Store,
    memory_store: Store,
    ray_driver: None,
    reliability: Callable[..., None],
) -> None:
    furnish(local_store)
    storage, config = StorageConfig(uri=local_store.uri), training("damaged", **LONG)
    asking = threading.Thread(target=_stop_after_two_checkpoints, args=(local_store, "damaged"))
    asking.start()
    with pytest.raises(StoppedError):
        run_training(config, storage)
    asking.join()
    folder = current_folder(local_store, "damaged")
    names = checkpoint_names(local_store, folder)
    assert len(names) == 2
    path = (folder, names[-1], STATE)
    local_store.write(flipped(local_store.read(*path), 7), *path)
    snapshot = (folder, SNAPSHOT)
    assert _fault_of_snapshot(local_store.read(*snapshot), names) is None
    local_store.write(b"{" + local_store.read(*snapshot), *snapshot)
    run_training(config, storage)
    furnish(memory_store)
    list(run_in_process(config, memory_store))
    found, wanted = result_of(local_store, "damaged"), result_of(memory_store, "damaged")
    assert found[1] == wanted[1]
    assert all(torch.equal(found[0][name], wanted[0][name]) for name in wanted[0])
    reliability(
        "a damaged checkpoint",
        "one bit flipped in the last one, and Ray Train's list of them broken; then the same "
        "command",
        "it goes on from the one before, and says so; losses and weights are those of an "
        "undisturbed run, bit by bit",
    )


def _stop_after_two_checkpoints(store: Store, run: str) -> None:
    deadline = time.monotonic() + 240
    while len(current_checkpoints(store, run)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    store.write_json({}, "runs", run, "lease", "00000001.stop.json")
