"""What tests of several folders share: stores of each kind, servers and a cluster."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read when ray is imported

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from cluster.local import connect, disconnect
from cluster.local_record import LocalCluster
from cluster.ports import free_ports
from flowkd.store.store import Store
from tests.support.queues import kill_head, new_cluster
from tests.support.reliability import reliability as reliability  # a fixture
from tests.support.servers.faults import FaultProxy
from tests.support.servers.moto import MotoServer
from tests.support.servers.swift import SwiftServer
from tests.support.small_runs import furnish

# The root of a store of one's own, for the tests that use s3_store: see CONTRIBUTING.md.
OWN = os.environ.get("FLOWKD_TEST_STORE", "").rstrip("/")
AWS = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    """A real S3 server on loopback; it starts with the first test that asks for it."""
    with SwiftServer(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """An S3 server whose conditional writes are those of AWS."""
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def swift_store(s3_server: SwiftServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store on Swift; the environment of this test and its processes leads there."""
    with store_on(s3_server, monkeypatch) as store:
        yield store


@pytest.fixture
def moto_store(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store on moto; the environment of this test and its processes leads there."""
    with store_on(moto_server, monkeypatch) as store:
        yield store


@pytest.fixture
def s3_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store on S3: below FLOWKD_TEST_STORE where that is set, else on Swift."""
    if not OWN:
        yield request.getfixturevalue("swift_store")
        return
    with pytest.MonkeyPatch.context() as patch:
        # The cluster that tests share has set its own in the meantime.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in AWS.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        store = Store(f"{OWN}/{uuid.uuid4().hex}")
        yield store
        S3FileSystem.clear_instance_cache()
        Store(store.uri).remove()


@contextmanager
def store_on(server: SwiftServer | MotoServer, patch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        patch.delenv(name, raising=False)
    for name, value in server.environment().items():
        patch.setenv(name, value)
    # fsspec hands out the same instance for the same options, whatever the environment says.
    S3FileSystem.clear_instance_cache()
    yield Store(server.uri(uuid.uuid4().hex))
    S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def proxy(s3_server: SwiftServer) -> Iterator[FaultProxy]:
    """Stands before the S3 server and lets requests fail."""
    with FaultProxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxied_store(
    swift_store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """A store behind the proxy, with one object, `known`.

    The clients' own retries are off, so that flowkd's are tested.
    """
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    options = {
        "endpoint_url": proxy.endpoint,
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    store = Store(swift_store.uri, options, retry_seconds=20)
    store.write(b"before", "known")
    proxy.requests.clear()
    yield store
    proxy.reset()


@pytest.fixture
def memory_store() -> Store:
    """An empty store in the memory of this process."""
    return Store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def taught_store(memory_store: Store) -> Store:
    """A store in memory with two small data sets and a finished teacher."""
    furnish(memory_store)
    return memory_store


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """An empty store in a folder; its name holds what must not be encoded."""
    return Store(str(tmp_path / "a store 100%"))


@pytest.fixture(scope="session", autouse=True)
def no_other_clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clusters of these tests are listed apart from those of the user who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def ray_cluster(
    s3_server: SwiftServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalCluster]:
    """A local Ray that all tests share; its processes reach the S3 server."""
    record = tmp_path_factory.mktemp("ray") / "cluster.json"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        # How often Ray Train looks whether its workers are done: by default every 2 seconds.
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        cluster = new_cluster(record)
        for name, value in cluster.environment().items():
            patch.setenv(name, value)
        yield cluster
        kill_head(cluster, record)  # `down` lets each process end by itself, which takes seconds


@pytest.fixture(scope="session")
def ray_driver(ray_cluster: LocalCluster) -> Iterator[None]:
    """This process as a driver on the shared cluster."""
    connect(ray_cluster.address)
    yield
    disconnect()


@pytest.fixture(scope="session")
def serve_port() -> int:
    """The port of Ray Serve: one cluster has one."""
    return free_ports(1)[0]
