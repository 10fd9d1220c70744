"""An object is created once: of several writers one wins, and it learns of it, whatever fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from s3fs import S3FileSystem

from flowkd.errors import StoreError
from flowkd.store import locks
from flowkd.store.locks import ROUNDS, WRITERS, count_winners, creates_are_atomic
from flowkd.store.store import Store
from tests.support.servers.faults import FaultProxy
from tests.support.servers.moto import MotoServer

ATOMIC = ["local", "memory", "moto"]
KINDS = [*ATOMIC, "swift"]


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(f"{request.param}_store")


@pytest.mark.parametrize("store", KINDS, indirect=True)
def test_what_is_there_stays(store: Store) -> None:
    assert store.create(b"first", "a", "x")
    assert not store.create(b"second", "a", "x")
    assert store.read("a", "x") == b"first"
    assert store.create(b"first", "a", "x")  # as an attempt of one's own that was lost
    assert store.create(b"", "a", "empty")
    assert not store.create(b"x", "a", "empty")
    assert store.list("a") == ["empty", "x"]


@pytest.fixture
def nervous() -> Iterator[None]:
    """Threads take turns as often as can be: between a look and a write, above all."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("nervous")
@pytest.mark.parametrize("store", ATOMIC, indirect=True)
def test_one_of_many_threads_wins(store: Store) -> None:
    with ThreadPoolExecutor(WRITERS) as writers:
        assert [count_winners(store, f"round-{n}", writers) for n in range(20)] == [1] * 20


@pytest.mark.parametrize("store", ["local", "moto"], indirect=True)
def test_one_of_many_processes_wins_each_object(store: Store) -> None:
    code = """
import sys
from flowkd.store.store import Store
store, mine = Store(sys.argv[1]), sys.argv[2]
print(sum(store.create(f"{mine} {n}".encode(), "race", str(n)) for n in range(40)))
"""
    racing = [
        subprocess.Popen([sys.executable, "-c", code, store.uri, mine], stdout=subprocess.PIPE)
        for mine in "abc"
    ]
    won = [int(process.communicate(timeout=60)[0]) for process in racing]
    assert sum(won) == 40
    found = [store.read("race", str(n)).decode().split()[0] for n in range(40)]
    assert [found.count(mine) for mine in "abc"] == won


def test_a_file_is_complete_when_it_shows_and_nothing_else_remains(local_store: Store) -> None:
    data = [bytes([n]) * 2**21 for n in range(4)]
    with ThreadPoolExecutor(4) as writers:
        creating = [writers.submit(local_store.create, each, "x") for each in data]
        while not local_store.exists("x"):
            pass
        assert local_store.read("x") in data
        assert sum(each.result() for each in creating) == 1
    assert os.listdir(local_store.path()) == ["x"]


def test_a_folder_without_hard_links_will_do(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:  # as exFAT does
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert local_store.create(b"first", "x")
    assert not local_store.create(b"second", "x")
    with ThreadPoolExecutor(WRITERS) as writers:
        assert count_winners(local_store, "y", writers) == 1
    assert sorted(os.listdir(local_store.path())) == ["x", "y"]


@pytest.mark.parametrize("store", ["swift", "moto"], indirect=True)
def test_a_missing_bucket_is_no_lost_race(store: Store) -> None:
    with pytest.raises(
        StoreError, match=r"cannot create 'x' in bucket 'nowhere'.*the bucket first"
    ):
        Store("s3://nowhere/prefix").create(b"1", "x")


def test_a_file_in_the_way_is_no_lost_race(local_store: Store) -> None:
    local_store.write(b"1", "x")
    with pytest.raises(StoreError, match="a part of the path is a file"):
        local_store.create(b"1", "x", "y")


@pytest.fixture(scope="module")
def proxy(moto_server: MotoServer) -> Iterator[FaultProxy]:
    with FaultProxy(moto_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def shaky(moto_store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store behind the proxy; the clients' own retries are off, so that flowkd's are tested."""
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    options = {"endpoint_url": proxy.endpoint, "config_kwargs": {"retries": {"max_attempts": 0}}}
    proxy.requests.clear()
    return Store(moto_store.uri, options, retry_seconds=20)


def test_a_success_whose_answer_was_lost_counts(shaky: Store, proxy: FaultProxy) -> None:
    proxy.fail("lost answer")
    assert shaky.create(b"mine", "x")
    assert proxy.requests[:2] == ["PUT lost answer", "PUT passed"]  # the second was refused
    assert shaky.read("x") == b"mine"


def test_the_success_of_another_does_not(shaky: Store, proxy: FaultProxy) -> None:
    shaky.write(b"theirs", "x")
    proxy.fail("lost answer")
    assert not shaky.create(b"mine", "x")
    assert shaky.read("x") == b"theirs"


@pytest.mark.parametrize("fault", ["conflict", "unavailable", "reset"])
def test_what_may_pass_is_tried_again(shaky: Store, proxy: FaultProxy, fault: str) -> None:
    proxy.fail(fault)
    assert shaky.create(b"mine", "x")
    assert proxy.requests[:2] == [f"PUT {fault}", "PUT passed"]
    proxy.requests.clear()
    proxy.fail("denied")
    with pytest.raises(StoreError, match=r"cannot create 'x' .*set AWS_ACCESS_KEY_ID"):
        shaky.create(b"more", "x")
    assert proxy.requests == ["PUT denied"]


def test_another_refusal_is_no_lost_race(shaky: Store, proxy: FaultProxy) -> None:
    proxy.fail("invalid")  # s3fs makes of it what it makes of a lost race: EINVAL
    with pytest.raises(StoreError, match="cannot create 'x' in bucket"):
        shaky.create(b"mine", "x")


@pytest.mark.parametrize("store", KINDS, indirect=True)
def test_the_probe_tells_servers_apart_and_leaves_nothing(
    store: Store, request: pytest.FixtureRequest
) -> None:
    assert creates_are_atomic(store) == ("swift" not in request.node.name)
    assert store.list() == []


def test_a_store_is_asked_once_in_a_process(shaky: Store, proxy: FaultProxy) -> None:
    assert creates_are_atomic(shaky)
    assert sum(request.startswith("PUT") for request in proxy.requests) == 2 + ROUNDS * WRITERS
    proxy.requests.clear()
    assert creates_are_atomic(Store(shaky.uri, shaky.options, retry_seconds=1))
    assert proxy.requests == []


@pytest.mark.parametrize(("fault", "known"), [("not implemented", True), ("unavailable", False)])
def test_only_an_answer_is_remembered(
    shaky: Store, proxy: FaultProxy, fault: str, known: bool
) -> None:
    store = Store(f"{shaky.uri}/{uuid.uuid4().hex}", shaky.options, retry_seconds=0)
    proxy.fail("", fault)  # a write passes, and the conditional one does not
    if known:
        assert not creates_are_atomic(store)
    else:
        with pytest.raises(StoreError, match="cannot create"):
            creates_are_atomic(store)
    assert any(store.uri in key for key in locks._atomic) == known
