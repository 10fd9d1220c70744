"""The queue on a real Ray: order, retries, limits, dependencies, cancel, logs, webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from cluster.local_record import LocalCluster
from cluster.queue.job_log import read_job_log
from flowkd.store.store import Store
from tests.support.queues import TestQueue, kill_head, new_cluster, wait_for

SECRET = "a secret of this test"
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    record = tmp_path_factory.mktemp("ray") / "cluster.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWKD_WEBHOOK_SECRET", SECRET)
        # As in a job of another cluster, which is not there: this one keeps to itself.
        patch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
        patch.setenv("RAY_ADDRESS", "127.0.0.1:9")
        cluster = new_cluster(record)
        yield cluster
    kill_head(cluster, record)


@pytest.fixture
def queue(cluster: LocalCluster, tmp_path: Path) -> Iterator[TestQueue]:
    queue = TestQueue(cluster, Store(str(tmp_path / "store")), tmp_path)
    yield queue
    assert queue.said("overlap") == []


def serve(queue: TestQueue, **changes: object) -> None:
    queue.serve(uuid.uuid4().hex, **changes)


def test_jobs_run_by_priority_then_as_they_came_and_their_logs_are_whole(queue: TestQueue) -> None:
    for name in ("c", "a", "b"):
        queue.submit(name)
    queue.submit("urgent", priority=1)
    assert not queue.records.accept(queue.spec("a"))  # the same again
    serve(queue, limits={"max_running": 1})
    queue.wait(["a", "b", "c", "urgent"])
    assert queue.said("start") == ["urgent", "c", "a", "b"]
    assert queue.said("stop") == queue.said("start")
    log = b"".join(read_job_log(queue.store, "a", 1))
    assert log == b"hello from a\nbye from a\n"
    table = queue.records.table()
    assert table is not None
    assert table.nodes[0]["CPU"] == 4


def test_retries_limits_and_dependencies(queue: TestQueue) -> None:
    queue.submit("fails", 0, 1, retries={"max_retries": 1, "backoff": 0.5})
    queue.submit("never", 0, 2, retries={"max_retries": 5})
    queue.submit("always", 0, 75, retries={"max_retries": 0, "backoff": 0.1})
    queue.submit("slow", 60, timeouts={"running": 1})
    queue.submit("good")
    queue.submit("after-good", depends_on=["good"])
    queue.submit("after-bad", depends_on=["never"])
    queue.submit("impatient", timeouts={"queued": 1}, resources={"gpus": 1})
    queue.submit("behind", resources={"cpus": 1})  # is not held back by what no node has
    serve(queue, limits={"max_running": 3})
    jobs = ["fails", "never", "slow", "good", "after-good", "after-bad", "impatient", "behind"]
    queue.wait(jobs)
    wait_for(lambda: len(queue.said("start", "always")) > 1)
    queue.records.ask("always", "cancel")
    queue.wait("always")
    states = {job: queue.records.state(job) for job in [*jobs, "always"]}
    assert {job: state.state for job, state in states.items()} == {
        "fails": "failed", "never": "failed", "slow": "failed", "good": "succeeded",
        "after-good": "succeeded", "after-bad": "failed", "impatient": "failed",
        "behind": "succeeded", "always": "cancelled",
    }  # fmt: skip
    assert queue.said("start", "fails") == ["fails", "fails"]
    assert queue.said("start", "never") == ["never"]
    assert states["slow"].reason == "ran for longer than 1 s"
    assert states["after-bad"].reason == "job never, on which it depends, failed"
    assert states["impatient"].reason == "waited for longer than 1 s"
    starts = queue.said("start")
    assert starts.index("good") < starts.index("after-good")
    assert "after-bad" not in starts
    queue.records.ask("after-bad", "retry")
    wait_for(lambda: queue.records.state("after-bad").events > 2 and not queue.records.inbox()[0])


def test_queues_of_two_stores_may_name_their_jobs_alike(queue: TestQueue) -> None:
    other = TestQueue(queue.cluster, Store(str(queue.folder / "other")), queue.folder / "other")
    queue.submit("alike", 600)
    serve(queue)
    process = queue.process("alike")
    other.submit("alike")
    serve(other)
    other.wait("alike", "succeeded")
    assert other.records.state("alike").attempt == 2
    assert queue.state("alike") == "running"
    assert psutil.pid_exists(process)


def test_cancel_while_queued_starting_and_running(
    queue: TestQueue, reliability: Callable[..., None]
) -> None:
    queue.submit("running", 600, resources={"cpus": 4})  # far beyond the deadlines of waiting
    queue.submit("queued")
    serve(queue)
    process = queue.process("running")
    queue.wait("running", "running")
    queue.records.ask("queued", "cancel", by="me")
    queue.wait("queued", "cancelled")
    assert queue.records.state("queued").reason == "cancelled by me"
    queue.submit("next", resources={"cpus": 4})
    began = time.monotonic()
    queue.records.ask("running", "cancel")
    wait_for(lambda: not psutil.pid_exists(process))
    queue.wait("next", "starting", "running", "succeeded")
    seconds = time.monotonic() - began
    queue.wait("running", "cancelled")
    queue.wait("next", "succeeded")

    queue.submit("starting")
    queue.wait("starting", "starting")
    queue.records.ask("starting", "cancel")
    queue.wait("starting", "cancelled")
    queue.submit("last")
    queue.wait("last", "succeeded")
    assert set(queue.said("start")) == {"running", "next", "last"}
    assert queue.said("stop") == ["next", "last"]
    reliability(
        "cancel while queued, while starting, while running",
        "a request in the store at each of these times, on real Ray",
        f"none starts afterwards; a running job's resources went to the next after {seconds:.1f} s",
    )


def test_a_webhook_is_told_of_each_transition_signed(queue: TestQueue) -> None:
    told: list[tuple[bytes, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((body, self.headers["X-Flowkd-Signature-256"]))
            self.send_response(503 if len(told) == 1 else 200)  # what is refused is sent again
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keeps quiet."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        queue.submit("job", webhook=f"http://127.0.0.1:{server.server_port}/")
        serve(queue)
        wait_for(lambda: len(told) > 1 and b"succeeded" in told[-1][0])
        server.shutdown()
    for body, signed in told:
        assert signed == f"sha256={hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}"
    numbers = [json.loads(body)["number"] for body, _ in told]
    events = queue.records.events("job")
    assert numbers == [1, *(event.number for event in events)]
