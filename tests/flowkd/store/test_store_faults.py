"""A store outlasts what may pass, at once gives up what may not, and says what to do.

The server is real; a proxy before it lets requests fail.
"""

from __future__ import annotations

import pytest
from s3fs import S3FileSystem

from flowkd.errors import StoreError
from flowkd.store.store import Store
from tests.support.servers.faults import FaultProxy

TRANSIENT = ("internal error", "unavailable", "slow down", "reset", "expired")


@pytest.fixture
def store(proxied_store: Store) -> Store:
    return proxied_store


@pytest.mark.parametrize("fault", TRANSIENT)
def test_what_may_pass_is_tried_again(store: Store, proxy: FaultProxy, fault: str) -> None:
    proxy.fail(fault, fault)
    store.write(b"new", "object")
    proxy.fail(fault, fault)
    assert store.read("object") == b"new"
    proxy.fail(fault)
    assert store.exists("object")
    proxy.fail(fault)
    assert store.list() == ["known", "object"]
    proxy.fail(fault)
    store.remove("object")
    assert store.list() == ["known"]
    assert sum(fault in request for request in proxy.requests) == 7


def test_a_body_that_is_cut_off_is_read_again(store: Store, proxy: FaultProxy) -> None:
    data = bytes(range(256)) * 4000
    store.write(data, "large")
    proxy.fail("truncate")
    assert store.read("large") == data
    assert any("truncate" in request for request in proxy.requests)


def test_a_slow_answer_is_waited_for(store: Store, proxy: FaultProxy) -> None:
    proxy.fail("delay")
    assert store.read("known") == b"before"
    assert "HEAD delay" in proxy.requests
    assert sum("passed" in request for request in proxy.requests) == 1  # nothing was asked twice


def test_some_seconds_without_the_store_are_outlasted(store: Store, proxy: FaultProxy) -> None:
    proxy.fail_for(3, "unavailable")
    store.write(b"after", "known")
    assert store.read("known") == b"after"
    failed = sum("unavailable" in request for request in proxy.requests)
    assert 1 <= failed <= 8  # with growing pauses between


def test_retries_end_and_the_error_says_what_to_do(store: Store, proxy: FaultProxy) -> None:
    hasty = Store(store.uri, store.options, retry_seconds=1)
    proxy.fail_for(600, "unavailable")
    with pytest.raises(StoreError, match=r"cannot read 'known' in bucket 'flowkd'.*is right"):
        hasty.read("known")
    proxy.reset()
    assert hasty.read("known") == b"before"


def test_what_is_denied_fails_at_once_with_bucket_key_and_remedy(
    store: Store, proxy: FaultProxy
) -> None:
    for operation, what in (
        (lambda: store.write(b"new", "a", "key"), "write"),
        (lambda: store.read("a", "key"), "read"),
        (lambda: store.exists("a", "key"), "look for"),
        (lambda: store.remove("a", "key"), "remove"),
    ):
        proxy.requests.clear()
        proxy.fail("denied")
        message = f"cannot {what} 'a/key' in bucket 'flowkd' of s3://.*set AWS_ACCESS_KEY_ID"
        with pytest.raises(StoreError, match=message):
            operation()
        assert [request.split()[1] for request in proxy.requests] == ["denied"]


def test_a_bucket_that_is_not_there_fails_at_once(store: Store, proxy: FaultProxy) -> None:
    other = Store("s3://nowhere/prefix", store.options)
    with pytest.raises(StoreError, match=r"in bucket 'nowhere'.*create the bucket first"):
        other.write(b"new", "object")
    assert sum(request.startswith("PUT") for request in proxy.requests) == 1


def test_renewed_credentials_are_read_again(
    store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.fs
    proxy.fail("expired")
    assert store.read("known") == b"before"
    assert store.fs is not before
    # Those that are wrong for good are not tried again.
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    S3FileSystem.clear_instance_cache()
    proxy.requests.clear()
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID"):
        Store(store.uri, store.options).read("known")
    assert len(proxy.requests) == 1
