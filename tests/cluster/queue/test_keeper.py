"""No process that a command starts outlives its attempt, whichever way it tries."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cluster.queue.job_log import read_job_log
from cluster.queue.keeper import MARK
from cluster.queue.records import QueueRecords
from cluster.queue.rules import TIMED_OUT
from cluster.queue.spec import JobSpec
from flowkd.store.store import Store
from tests.support.daemons import DAEMON, DEAF, WAYS, daemon, lives
from tests.support.queues import wait_for


def started(store: Store, script: str, attempt: int = 1, **changes: object) -> subprocess.Popen:
    """A runner of its own, as Ray starts it."""
    values = {"id": "job", "kind": "command", **changes}
    QueueRecords(store).accept(JobSpec.model_validate(values))
    return subprocess.Popen(
        [
            sys.executable, "-m", "cluster.queue.runner",
            "--store", store.uri, "--grace-period", "1", "job", str(attempt),
            "--", "/bin/sh", "-c", script,
        ],
        start_new_session=True,
    )  # fmt: skip


def ended(runner: subprocess.Popen) -> int:
    """Waits for a runner to end, and returns its exit code."""
    try:
        return runner.wait(60)
    finally:
        runner.kill()


@pytest.mark.parametrize(("way", "clean"), [*((way, False) for way in WAYS), (DAEMON, True)])
def test_what_a_command_left_running_ends_with_it_and_is_told(
    way: str, clean: bool, local_store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    runner = started(local_store, daemon(way, file, clean))
    assert ended(runner) == 0
    assert not lives(file)
    log = b"".join(read_job_log(local_store, "job", 1)).decode()
    how = "SIGKILL" if "deaf" in way else "SIGTERM"
    assert log.startswith(f"flowkd: ended what the command left running: {sys.executable} -c")
    assert f"(process {file.read_text()}, {how})" in log


# Ray kills the group of a job's process.
@pytest.mark.parametrize(("way", "kill"), [*((way, os.kill) for way in WAYS), (DAEMON, os.killpg)])
def test_it_ends_when_the_runner_is_killed(
    way: str, kill: Callable[[int, int], None], local_store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    runner = started(local_store, f"{daemon(way, file)}; sleep 600")
    wait_for(file.exists)
    kill(runner.pid, signal.SIGKILL)
    assert ended(runner) == -signal.SIGKILL
    assert not lives(file)


@pytest.mark.parametrize("way", [DAEMON, DEAF])
def test_it_ends_when_the_job_is_stopped(way: str, local_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    runner = started(local_store, f"{daemon(way, file)}; sleep 600")
    wait_for(file.exists)
    runner.terminate()
    assert ended(runner) == 128 + signal.SIGTERM
    assert not lives(file)


def test_it_ends_when_the_job_takes_too_long(local_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"{daemon(DEAF, file)}; trap '' TERM; sleep 600; sleep 600"
    assert ended(started(local_store, script, timeouts={"running": 6})) == TIMED_OUT
    assert not lives(file)


@pytest.mark.skipif(sys.platform != "linux", reason="psutil tells no environment")
def test_an_attempt_ends_what_an_earlier_one_of_its_job_left_here(
    local_store: Store, tmp_path: Path
) -> None:
    """Runner and keeper killed at once can do nothing."""
    file, ours = tmp_path / "pid", f"{local_store.uri}/queue/job/attempts/1"
    theirs = {**os.environ, MARK: ours.replace("/job/", "/job2/")}
    with subprocess.Popen(["sleep", "600"], env=theirs) as other:
        subprocess.run(
            ["/bin/sh", "-c", daemon(DAEMON, file)],
            env={**os.environ, MARK: ours}, check=True,
        )  # fmt: skip
        runner = started(local_store, "true", 2)
        assert ended(runner) == 0
        assert not lives(file)
        assert other.poll() is None
        other.kill()


def kill_keeper(runner: subprocess.Popen) -> None:
    [keeper] = psutil.Process(runner.pid).children()
    keeper.kill()


def freeze_and_kill_runner(runner: subprocess.Popen) -> None:
    [keeper] = psutil.Process(runner.pid).children()
    for process in keeper.children(recursive=True):
        process.suspend()
    runner.kill()


@pytest.mark.parametrize("fault", [kill_keeper, freeze_and_kill_runner])
def test_neither_a_killed_keeper_nor_frozen_processes_leave_any(
    fault: Callable[[subprocess.Popen], None], local_store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    script = f"{daemon(DAEMON, file)}; sleep 600"
    runner = started(local_store, script)
    wait_for(file.exists)
    fault(runner)
    assert ended(runner) == (128 + signal.SIGKILL if fault is kill_keeper else -signal.SIGKILL)
    assert not lives(file)
