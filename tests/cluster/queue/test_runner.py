"""An attempt runs its command once, and ends it and all that it started in every case."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.queue import runner
from cluster.queue.job_log import read_job_log
from cluster.queue.messages import AttemptOutcome, Heartbeat
from cluster.queue.records import QueueRecords
from cluster.queue.rules import TIMED_OUT, StopReason, stop_reason
from cluster.queue.runner import CANCELLED, NOT_MINE, AttemptRunner
from cluster.queue.spec import JobSpec, Timeouts
from flowkd.errors import StoreError
from flowkd.store.sealed import seal_line
from flowkd.store.store import Store

# Starts another process that outlives it, unless it is ended, and tells its id.
LEAVES_ONE_BEHIND = "sleep 600 & echo $! > {file}; {then}"


class DeafOnceThere(QueueRecords):
    """Records of a store that takes no sign of life as soon as a file is there."""

    def __init__(self, store: Store, file: Path) -> None:
        super().__init__(store)
        self.file = file

    def beat(self, job: str, attempt: int, heartbeat: Heartbeat) -> None:
        """Fails once the file is written."""
        if written(self.file):
            raise StoreError("away")
        super().beat(job, attempt, heartbeat)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run(
    records: QueueRecords, script: str, heartbeat_timeout: float = 60, **changes: object
) -> AttemptOutcome | None:
    records.accept(JobSpec.model_validate({"id": "job", "kind": "c", **changes}))
    command = ("/bin/sh", "-c", script) if script else ("no-such-program",)
    code = AttemptRunner(records, "job", 1, command, heartbeat_timeout, 1.0).run()
    outcome = records.outcome("job", 1)
    assert outcome is None or outcome.exit_code == code
    return outcome


def written(file: Path) -> bool:
    return file.exists() and file.read_text().endswith("\n")


def left_behind(file: Path) -> bool:
    time.sleep(0.2)
    try:
        return psutil.Process(int(file.read_text())).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_a_command_leaves_behind_ends_with_it(memory_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = LEAVES_ONE_BEHIND.format(file=file, then="echo done; exit 3")
    outcome = run(QueueRecords(memory_store), script)
    assert outcome is not None
    assert (outcome.exit_code, outcome.reason, outcome.lost) == (3, "", False)
    log = b"".join(read_job_log(memory_store, "job", 1)).decode()
    assert log == (
        "done\nflowkd: ended what the command left running: "
        f"sleep 600 (process {file.read_text().strip()}, SIGTERM)\n"
    )
    assert not left_behind(file)


def test_an_attempt_that_nobody_hears_stops_itself(memory_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = LEAVES_ONE_BEHIND.format(file=file, then="sleep 600")
    outcome = run(DeafOnceThere(memory_store, file), script, heartbeat_timeout=1.0)
    assert outcome is not None
    assert outcome.lost
    assert "could not reach the store" in outcome.reason
    assert not left_behind(file)


def test_one_that_does_not_listen_is_killed_after_its_time(
    memory_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pid"

    def from_when_it_does_not_listen(
        timeouts: Timeouts, heartbeat: float, ran: float, silent: float
    ) -> StopReason | None:
        return stop_reason(timeouts, heartbeat, ran if written(file) else 0, silent)

    monkeypatch.setattr(runner, "stop_reason", from_when_it_does_not_listen)
    script = "trap '' TERM; " + LEAVES_ONE_BEHIND.format(file=file, then="sleep 600; sleep 600")
    outcome = run(QueueRecords(memory_store), script, timeouts={"running": 0.5})
    assert outcome is not None
    assert (outcome.exit_code, outcome.lost) == (TIMED_OUT, False)
    assert not left_behind(file)


def test_the_dispatcher_can_stop_it_through_the_store(memory_store: Store) -> None:
    records = QueueRecords(memory_store)
    records.ask_to_stop("job", 1)
    outcome = run(records, "sleep 600")
    assert outcome is not None
    assert (outcome.reason, outcome.lost) == ("stopped", True)


def test_a_command_that_leaves_well_when_it_is_stopped_has_not_succeeded(
    memory_store: Store, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"

    class AskedOnceReady(QueueRecords):
        """Asks an attempt to stop as soon as its command listens."""

        def must_stop(self, job: str, attempt: int) -> bool:
            """Tells whether the command is ready."""
            return ready.exists()

    script = f"trap 'exit 0' TERM; touch {ready}; while true; do sleep 0.1; done"
    outcome = run(AskedOnceReady(memory_store), script, heartbeat_timeout=5.0)
    assert outcome is not None
    assert (outcome.exit_code, outcome.lost) == (0, True)


def test_a_cancelled_job_never_starts(memory_store: Store, tmp_path: Path) -> None:
    records = QueueRecords(memory_store)
    script = f"touch {tmp_path}/started"
    records.accept(JobSpec(id="job", kind="c"))
    records.ask("job", "cancel")
    outcome = run(records, script)
    assert outcome is not None
    assert outcome.exit_code == CANCELLED
    assert not (tmp_path / "started").exists()


def test_what_has_begun_elsewhere_is_not_run(memory_store: Store, tmp_path: Path) -> None:
    records = QueueRecords(memory_store)
    assert records.begin("job", 1)
    assert run(records, f"touch {tmp_path}/started") is None
    assert AttemptRunner(records, "job", 1, ("true",), 60, 1).run() == NOT_MINE
    assert not (tmp_path / "started").exists()


def test_a_store_that_cannot_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    place = tmp_path / "queue" / "job" / "spec.json"
    place.parent.mkdir(parents=True)
    place.write_text("{")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cluster.queue.runner", "--store", str(tmp_path), "job", "1"),
            *("--", "true"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"error: queue/job/spec\.json: .*\n", done.stderr)


def test_a_command_that_is_not_there_is_named_in_the_log(memory_store: Store) -> None:
    outcome = run(QueueRecords(memory_store), "")
    assert outcome is not None
    assert outcome.exit_code == 127
    assert b"cannot run no-such-program" in b"".join(read_job_log(memory_store, "job", 1))


@pytest.mark.parametrize("metrics", [b"not JSON\n", b"{}\n", b"\xff\n"])
def test_metrics_that_cannot_be_read_end_no_attempt(memory_store: Store, metrics: bytes) -> None:
    memory_store.write(metrics, "runs", "broken", "metrics", "00000001-0001-0-00000000.jsonl")
    config = {"name": "broken", "train": {"steps": 5}}
    outcome = run(QueueRecords(memory_store), "sleep 2.5", heartbeat_timeout=5.0, config=config)
    assert outcome is not None
    assert (outcome.exit_code, outcome.reason) == (0, "")


def test_a_heartbeat_tells_how_far_a_training_is(memory_store: Store) -> None:
    memory_store.write(
        seal_line({"step": 3}), "runs", "run", "metrics", "00000001-0001-0-00000000.jsonl"
    )
    records = QueueRecords(memory_store)
    run(records, "sleep 1", heartbeat_timeout=1.0, config={"name": "run", "train": {"steps": 5}})
    heartbeat = records.heartbeat("job", 1)
    assert heartbeat is not None
    assert heartbeat.progress == "3 of 5"


@pytest.mark.parametrize("text", ["--store=x", "a b", "a\nb", "$(touch here)", "; touch here"])
def test_a_config_reaches_the_command_as_a_file_whatever_is_in_it(
    memory_store: Store, text: str
) -> None:
    records = QueueRecords(memory_store)
    accepted = {"id": "job", "kind": "c", "config": {"name": text}}
    records.accept(JobSpec.model_validate(accepted))
    script = "import sys, json, yaml; file, *rest = sys.argv[1:]"
    script += "; print(json.dumps([rest, yaml.safe_load(open(file))]))"
    command = ("python", "-c", script, "{config}", "{store}")
    assert AttemptRunner(records, "job", 1, command, 60, 1.0).run() == 0
    said = json.loads(b"".join(read_job_log(memory_store, "job", 1)))
    assert said == [[memory_store.uri], {"name": text}]


def test_an_attempt_that_wakes_after_its_job_moved_to_the_archive_runs_nothing(
    local_store: Store, tmp_path: Path
) -> None:
    records = QueueRecords(local_store)
    records.accept(JobSpec(id="job", kind="c"))
    command = ("/bin/sh", "-c", f"touch {tmp_path}/ran")
    late = AttemptRunner(records, "job", 1, command, 60, 1.0)
    local_store.copy("queue/job", "queue-ended/jobs/job")
    records.remove("job")
    assert late.run() == NOT_MINE
    assert not (tmp_path / "ran").exists()
