"""What lies outside of flowkd and fails is told in one line, with what to do; a fault is not."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from flowkd.errors import DataError, StoreError
from flowkd.store.failures import explain_failure, explained
from flowkd.store.store import Store


def missing_package() -> BaseException:
    with pytest.raises(ImportError) as caught:
        fsspec.filesystem("gs")
    return caught.value


def unknown_protocol() -> BaseException:
    with pytest.raises(ValueError) as caught:
        fsspec.filesystem("nothing")
    return caught.value


@pytest.mark.parametrize(
    ("error", "messages"),
    [
        (NoCredentialsError(), ["Unable to locate credentials", "AWS_ACCESS_KEY_ID"]),
        (
            EndpointConnectionError(endpoint_url="http://127.0.0.1:9/x"),
            ["http://127.0.0.1:9/x", "AWS_ENDPOINT_URL"],
        ),
        (PermissionError("Forbidden"), ["Forbidden", "credentials"]),
        (OSError(errno.EROFS, "Read-only file system", "/a"), ["'/a'", "read-only", "choose"]),
        (OSError(errno.ENOSPC, "No space left"), ["the disk is full", "free some space"]),
        (FileNotFoundError("bucket/a.csv"), ["'bucket/a.csv'", "correct the path"]),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), ["refused", "answers"]),
        (TimeoutError(), ["no answer in time"]),
        (
            ValueError("The HTTP server doesn't appear to support range requests. Only ..."),
            ["web server", "download the file"],
        ),
        (missing_package(), ["'gcsfs'", "pip install gcsfs"]),
        (unknown_protocol(), ["nothing", "before ://"]),
        (MemoryError(), ["memory"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_one_line_that_says_what_to_do(
    error: BaseException, messages: list[str]
) -> None:
    said = explain_failure(error)
    assert said is not None
    assert "\n" not in said
    assert all(message in said for message in messages), said


@pytest.mark.parametrize(
    "error", [KeyError("a"), ValueError("no"), ImportError("no torch"), AssertionError()]
)
def test_what_may_be_a_fault_is_not_explained_away(error: Exception) -> None:
    assert explain_failure(error) is None
    with pytest.raises(type(error)), explained("reading a", DataError):
        raise error


def test_an_explained_failure_is_an_error_for_users() -> None:
    with (
        pytest.raises(DataError, match=r"^reading a: 'b': there is no such file or folder"),
        explained("reading a", DataError),
    ):
        raise FileNotFoundError(errno.ENOENT, "No such file", "b")


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root may write everywhere; somebody else may not write into this user's folders."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def no_room() -> Iterator[None]:
    """No file may grow beyond its size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("write", ["write", "create"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, write: str) -> None:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o500)
    store = Store(str(folder))
    with somebody_else(), pytest.raises(StoreError, match=r"cannot \w+ 'a/b' of .*may not do that"):
        getattr(store, write)(b"data", "a", "b")
    with no_room(), pytest.raises(StoreError, match=r"larger than is allowed .*; choose"):
        getattr(store, write)(b"data", "c")
    assert store.list() in ([], ["a"])  # and nothing half-written


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write(b"data", "a")
    tmp_path.chmod(0o700)
    if os.geteuid():
        (tmp_path / "a").chmod(0)
    with somebody_else(), pytest.raises(StoreError, match=r"cannot read 'a' of .*permissions"):
        store.read("a")
