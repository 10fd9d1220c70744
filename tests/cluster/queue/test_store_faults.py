"""A store that is away or full: a job that runs goes on and is not run twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from s3fs import S3FileSystem

from cluster.queue.job_log import read_job_log
from flowkd.errors import StoreError
from flowkd.store.store import Store
from tests.support.queues import TestQueue, kill_head, new_cluster, wait_for
from tests.support.servers.faults import FaultProxy
from tests.support.servers.moto import MotoServer

Note = Callable[..., None]
LINES = b"hello from job\nbye from job\n"


@pytest.fixture(scope="module")
def queue(
    moto_server: MotoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestQueue, FaultProxy]]:
    """A queue on S3, behind a proxy that lets requests fail."""
    folder = tmp_path_factory.mktemp("queue")
    with FaultProxy(moto_server.endpoint) as proxy, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
            patch.delenv(name, raising=False)
        for name, value in moto_server.environment().items():
            patch.setenv(name, value.replace(moto_server.endpoint, proxy.endpoint))
        S3FileSystem.clear_instance_cache()
        cluster = new_cluster(folder / "cluster.json")
        queue = TestQueue(cluster, Store(moto_server.uri("queue-faults"), retry_seconds=3), folder)
        queue.serve("s3", heartbeat_timeout=60)
        yield queue, proxy
        assert queue.said("overlap") == []
        kill_head(cluster, folder / "cluster.json")
    S3FileSystem.clear_instance_cache()


def test_a_store_that_refuses_all_for_30_s(
    queue: tuple[TestQueue, FaultProxy], reliability: Note
) -> None:
    jobs, proxy = queue
    jobs.submit("away", 20)
    jobs.submit("later", depends_on=["away"])
    jobs.process("away")
    jobs.wait("away", "running")
    proxy.fail_for(30, "unavailable")
    _outlast(proxy)
    jobs.wait(["away", "later"], "succeeded")
    assert jobs.said("start", "away") == ["away"]
    assert jobs.records.state("away").attempt == 1
    reliability(
        "the store refuses everything for 30 s",
        "503 to each request of all processes, while a job runs and ends",
        "it goes on, its outcome and log are written afterwards, and it runs once",
    )


def test_a_store_that_is_full(queue: tuple[TestQueue, FaultProxy], reliability: Note) -> None:
    jobs, proxy = queue
    jobs.submit("job", 5)
    jobs.process("job")
    jobs.wait("job", "running")
    proxy.fail_for(12, "full", "PUT")
    with pytest.raises(StoreError, match="cannot create 'queue/refused"):
        jobs.records.accept(jobs.spec("refused"))
    assert "refused" not in jobs.records.jobs()
    _outlast(proxy)
    jobs.wait("job", "succeeded")
    assert jobs.said("start", "job") == ["job"]
    assert b"".join(read_job_log(jobs.store, "job", 1)) == LINES
    reliability(
        "a store that is full",
        "507 to each PUT for 12 s, while a job runs and ends",
        "submission is refused; the job's outcome and log are written once there is room",
    )


def _outlast(proxy: FaultProxy) -> None:
    """Waits until the proxy lets requests pass again."""
    wait_for(lambda: not proxy.failing)
