"""A queue for tests: a cluster of its own, a dispatcher on it, and jobs that say what they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from cluster.local import down, up
from cluster.local_record import LocalCluster
from cluster.queue.config import QueueConfig
from cluster.queue.events import ENDED
from cluster.queue.records import QueueRecords
from cluster.queue.spec import JobSpec
from flowkd.store.store import Store

# A job takes its time only when it is run first. It holds a lock of its name while it lives: two
# attempts at once would meet.
JOB = """
import fcntl, os, sys, time
import yaml
with open(sys.argv[1]) as file:
    folder, name, seconds, code = yaml.safe_load(file)["said"]
said = os.open(f"{folder}/said.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
say = lambda what: os.write(said, f"{what} {name} {os.getpid()}\\n".encode())
with open(f"{folder}/{name}.lock", "w") as lock:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("overlap")
    first = f"start {name} " not in open(f"{folder}/said.txt").read()
    say("start")
    print("hello from", name)
    time.sleep(float(seconds) if first else 0)
    say("stop")
    print("bye from", name)
sys.exit(int(code))
"""
COMMANDS = {"says": ["python", "-c", JOB, "{config}"]}
SECONDS = 120.0
QUICK = {
    "commands": COMMANDS,
    "poll_interval": 0.3, "heartbeat_timeout": 8, "grace_period": 2, "loss_margin": 1,
    "resource_settle_period": 0, "private_webhooks": True,
}  # fmt: skip


class TestQueue:
    """Jobs of one store on one cluster.

    Args:
        cluster: Ray.
        store: Of the records.
        folder: Where jobs say what they do.
    """

    __test__ = False

    def __init__(self, cluster: LocalCluster, store: Store, folder: Path) -> None:
        self.cluster, self.store, self.folder = cluster, store, folder
        self.records = QueueRecords(store)

    def serve(self, name: str, **changes: object) -> int:
        """Starts a dispatcher as an actor of this name, and returns its process."""
        config = QueueConfig.model_validate({**QUICK, **changes})
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(config.model_dump(mode="json")), encoding="utf-8")
        done = subprocess.run(
            [
                sys.executable, "-m", "jobs.dispatcher", "--store", self.store.uri,
                "--config", str(path), "--name", name,
            ],
            env={
                **os.environ,
                **self.cluster.environment(),
            },
            stdout=subprocess.PIPE, text=True, check=True, timeout=60,
        )  # fmt: skip
        return int(json.loads(done.stdout.splitlines()[-1])["pid"])

    def spec(self, job: str, seconds: float = 0, code: int = 0, **changes: object) -> JobSpec:
        """Returns a job that says that it starts and stops."""
        values = {
            "id": job,
            "kind": "says",
            "config": {"said": [str(self.folder), job, seconds, code]},
            "retries": {"max_retries": 0},
        }
        return JobSpec.model_validate(values | changes)

    def submit(self, job: str, *how: float, **changes: object) -> None:
        """Submits such a job."""
        assert self.records.accept(self.spec(job, *how, **changes))

    def state(self, job: str) -> str:
        """Returns a job's state."""
        return self.records.state(job).state or "submitted"

    def wait(self, jobs: str | Iterable[str], *states: str, seconds: float = SECONDS) -> None:
        """Waits until jobs are in one of these states, by default until they have ended."""
        wanted = states or ENDED
        jobs = [jobs] if isinstance(jobs, str) else list(jobs)
        wait_for(
            lambda: all(self.state(job) in wanted for job in jobs),
            seconds,
            lambda: {job: self.records.state(job) for job in jobs},
        )

    def said(self, what: str, job: str | None = None) -> list[str]:
        """Returns the jobs that said something, in order."""
        path = self.folder / "said.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [line.split()[1] for line in lines if line.split()[0] == what]
        return [each for each in found if job in (None, each)]

    def process(self, job: str) -> int:
        """Returns the process of the job's command, once it has started."""
        wait_for(
            lambda: bool(self.said("start", job)),
            about=lambda: (self.records.state(job), self.said("start")),
        )
        lines = (self.folder / "said.txt").read_text().splitlines()
        return int(next(line.split()[2] for line in reversed(lines) if f"start {job} " in line))

    def starts(self) -> list[str]:
        """Returns the jobs in the order in which their first attempts were started."""
        first = {}
        for job in self.records.jobs():
            times = [e.time for e in self.records.events(job) if e.state == "starting"]
            if times:
                first[job] = times[0]
        return sorted(first, key=lambda job: first[job])


def wait_for(
    true: Callable[[], object],
    seconds: float = SECONDS,
    about: Callable[[], object] = lambda: "waited in vain",
) -> None:
    """Waits until a function returns something true; `about` tells what is there instead."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, about()
        time.sleep(0.1)


def new_cluster(record: Path) -> LocalCluster:
    """Starts a cluster; `down(record=record)` ends it."""
    return up(cpus=4, record=record)


def kill_head(cluster: LocalCluster, record: Path) -> None:
    """Kills every process of a cluster's head at once, as a crash of its machine does."""
    group = [p for p in psutil.process_iter() if _group(p.pid) == cluster.pid]
    os.killpg(cluster.pid, signal.SIGKILL)
    psutil.wait_procs(group, timeout=10)
    down(record=record)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1
