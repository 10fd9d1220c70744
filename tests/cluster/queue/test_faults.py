"""The queue loses nothing and runs nothing twice at once, whatever is killed: really injected."""

from __future__ import annotations

import os
import shlex
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cluster.local import connect, disconnect
from cluster.local_record import LocalCluster
from cluster.queue.job_log import read_job_log
from cluster.queue.records import QueueRecords
from flowkd.store.store import Store
from tests.support.daemons import DAEMON, daemon, lives
from tests.support.orphans import actors, driver, placement_groups
from tests.support.queues import TestQueue, kill_head, new_cluster, wait_for

Note = Callable[..., None]
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    record = tmp_path_factory.mktemp("ray") / "cluster.json"
    cluster = new_cluster(record)
    yield cluster
    kill_head(cluster, record)


@pytest.fixture
def queue(cluster: LocalCluster, tmp_path: Path) -> Iterator[TestQueue]:
    queue = TestQueue(cluster, Store(str(tmp_path / "store")), tmp_path)
    yield queue
    assert queue.said("overlap") == []


def test_kill_of_the_jobs_process(queue: TestQueue, reliability: Note) -> None:
    queue.submit("job", 60, retries={"max_retries": 1, "backoff": 0.2})
    queue.serve("command")
    os.kill(queue.process("job"), signal.SIGKILL)
    queue.wait("job", "succeeded")
    assert queue.records.state("job").failures == 1
    assert queue.said("start") == ["job", "job"]
    reliability(
        "kill -9 of a job's driver",
        "SIGKILL to the process of the command",
        "one of the job's own retries, after its pause",
    )


def test_kill_of_the_attempt(queue: TestQueue, reliability: Note) -> None:
    queue.submit("lost", 600)  # far beyond the deadlines of waiting
    queue.serve("wrapper")
    process = queue.process("lost")
    queue.wait("lost", "running")
    runner = psutil.Process(process).parents()[1]  # the keeper is between them
    assert "cluster.queue.runner" in runner.cmdline()
    runner.kill()
    wait_for(lambda: not psutil.pid_exists(process))
    queue.wait("lost", "succeeded")
    assert queue.said("stop") == ["lost"]
    state = queue.records.state("lost")
    assert (state.failures, state.attempt) == (0, 2)
    reliability(
        "kill -9 of an attempt",
        "SIGKILL to the entrypoint of the Ray job",
        "its command ends with it; another attempt, not at the job's expense",
    )


def test_what_a_job_leaves_running(queue: TestQueue, reliability: Note) -> None:
    """Each starts a daemon and a driver of a training that is killed as it starts."""
    connect(queue.cluster.address)
    ends = ("by itself", "when it is cancelled", "when its attempt is killed")
    jobs = dict(zip(("itself", "cancelled", "lost"), ends, strict=True))
    files = {job: (queue.folder / f"{job}.daemon", queue.folder / f"{job}.driver") for job in jobs}
    commands = {}
    for job, (left, ray_job) in files.items():
        # The second attempt of the one that is lost has nothing to do.
        script = f"[ -e {left} ] && exit 0; {shlex.join(driver(ray_job))} & {daemon(DAEMON, left)}"
        script += f"; while [ ! -e {ray_job} ]; do sleep 0.1; done"
        then = "" if job == "itself" else "; sleep 600"
        commands[job] = ["/bin/sh", "-c", script + then]
        queue.submit(job, kind=job)
    queue.serve("leftovers", commands=commands)
    for left, ray_job in files.values():
        wait_for(lambda left=left, ray_job=ray_job: left.exists() and ray_job.exists())
    queue.wait(["cancelled", "lost"], "running", "queued")
    queue.records.ask("cancelled", "cancel")
    keeper = psutil.Process(int(files["lost"][0].read_text())).parent()
    assert keeper is not None
    keeper.parent().kill()
    queue.wait("itself", "succeeded")
    queue.wait("cancelled", "cancelled")
    queue.wait("lost", "succeeded")
    for left, ray_job in files.values():
        assert not lives(left)
        job = ray_job.read_text().strip()
        wait_for(
            lambda job=job: not actors(job) and not placement_groups(job),
            about=lambda job=job: (actors(job), placement_groups(job)),
        )
    log = b"".join(read_job_log(queue.store, "itself", 1)).decode()
    assert "flowkd: ended what the command left running:" in log
    disconnect()
    reliability(
        "a job that leaves processes and actors running",
        "a daemon by double fork in a session of its own, and a driver of a training that is "
        f"killed as it starts; the job ends {', '.join(jobs.values())}",
        "all processes, actors and placement groups end with the attempt, whose log names them",
    )


def test_kill_of_the_dispatcher(queue: TestQueue, reliability: Note) -> None:
    queue.submit("running", 6, resources={"cpus": 4})
    for n in range(3):
        queue.submit(f"queued{n}")
    process = queue.serve("dispatcher")
    queue.process("running")
    before = queue.records.table()
    os.kill(process, signal.SIGKILL)
    queue.wait(queue.records.jobs(), "succeeded")
    after = queue.records.table()
    assert before is not None
    assert after is not None
    assert before.dispatcher != after.dispatcher
    assert sorted(queue.said("start")) == [*queue.records.jobs()[:3], "running"]
    assert queue.starts() == ["running", "queued0", "queued1", "queued2"]
    reliability(
        "kill -9 of the dispatcher",
        "SIGKILL to its actor's process, 1 job running and 3 queued",
        "Ray restarts it; the running job goes on, all 4 run once and in order",
    )


def test_kill_of_the_head(tmp_path: Path, reliability: Note) -> None:
    records = [tmp_path / "first.json", tmp_path / "second.json"]
    cluster = new_cluster(records[0])
    store = Store(str(tmp_path / "store"))
    queue = TestQueue(cluster, store, tmp_path)
    names = ["running", *(f"queued{n:02}" for n in reversed(range(20)))]
    queue.submit("running", 60, resources={"cpus": 4})
    for name in names[1:]:
        queue.submit(name)
    queue.serve("head")
    queue.process("running")
    kill_head(cluster, records[0])

    queue.cluster = new_cluster(records[1])
    try:
        queue.serve("head")
        queue.wait(names, "succeeded", seconds=200)
    finally:
        kill_head(queue.cluster, records[1])
    assert queue.said("overlap") == []
    assert sorted(queue.said("start")) == sorted([*names, "running"])
    assert queue.starts() == names
    state = queue.records.state("running")
    assert (state.attempt, state.failures) == (2, 0)
    reliability(
        "kill -9 of the whole head",
        "SIGKILL to all its processes, 1 job running and 20 queued; then a new head",
        "all 21 finish in order; the one that ran is run again, once the first attempt is over",
    )


def clock(ahead: float) -> Callable[[], float]:
    """Returns a clock that is so many seconds ahead."""
    return lambda: time.time() + ahead


def test_clocks_that_differ(queue: TestQueue, reliability: Note) -> None:
    queue.submit("first", 3)
    queue.serve("clocks", limits={"max_running": 1})
    queue.process("first")
    timeouts = {"queued": 100}
    for name, ahead in (("ahead", 300.0), ("behind", -300.0)):
        assert QueueRecords(queue.store, clock(ahead)).accept(queue.spec(name, timeouts=timeouts))
        queue.wait(name, "queued", "starting", "running", "succeeded")
    queue.wait(["first", "ahead", "behind"], "succeeded")
    assert queue.said("start") == ["first", "ahead", "behind"]
    reliability(
        "clocks 5 minutes apart",
        "specs written 5 minutes ahead of and behind the dispatcher's clock, limits of 100 s",
        "run in the order in which they came; none timed out",
    )


def test_two_dispatchers(queue: TestQueue, reliability: Note) -> None:
    names = [f"job{n:02}" for n in range(12)]
    for name in names:
        queue.submit(name, 0.5)
    queue.submit("fails", 0, 1, retries={"max_retries": 2, "backoff": 0.1})
    queue.serve("one")
    queue.serve("two")
    queue.wait(names, "succeeded")
    queue.wait("fails", "failed")
    assert sorted(queue.said("start")) == sorted([*names, *["fails"] * 3])
    reliability(
        "two dispatchers at once",
        "two actors on one store and cluster, 13 jobs",
        "each attempt is started once",
    )


def test_a_thousand_jobs(queue: TestQueue, reliability: Note) -> None:
    queue.submit("running", 600, resources={"cpus": 4})
    process = psutil.Process(queue.serve(uuid.uuid4().hex))
    queue.process("running")
    before = process.memory_info().rss
    processes = len(psutil.Process(queue.cluster.pid).children(recursive=True))
    began = time.monotonic()
    for n in range(1000):
        queue.submit(f"job{n:04}")
    submitted = time.monotonic() - began
    queue.wait("job0999", "queued")
    table = None
    for _ in range(300):
        table = queue.records.table()
        if table is not None and len(table.rows) == 1001:
            break
        time.sleep(0.1)
    assert table is not None
    waiting = [row.job for row in table.rows if row.state == "queued"]
    assert waiting == [f"job{n:04}" for n in range(1000)]
    began = time.monotonic()
    queue.records.table()
    listed = time.monotonic() - began
    grown = (process.memory_info().rss - before) / 2**20
    more = len(psutil.Process(queue.cluster.pid).children(recursive=True)) - processes
    assert more < 10
    queue.records.ask("job0500", "cancel")
    queue.wait("job0500", "cancelled")
    memory = process.memory_info().rss / 2**20
    reliability(
        "1,000 jobs queued",
        "submitted one after the other to a folder, while 1 runs",
        f"{1000 / submitted:,.0f} submitted a second; the dispatcher takes {memory:,.0f} MiB, "
        f"{grown:.0f} of them for these; the list is read in {1000 * listed:.0f} ms; no process "
        "per waiting job",
    )
