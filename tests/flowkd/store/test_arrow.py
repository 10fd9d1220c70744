"""pyarrow's view of a store outlasts transient errors, and never takes an error for an answer.

The server is real; a proxy before it lets requests fail.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs as pafs
from pyarrow import parquet

from flowkd.errors import StoreError
from flowkd.store.arrow import arrow_filesystem
from flowkd.store.store import Store
from tests.support.servers.faults import FaultProxy

TRANSIENT = ("internal error", "unavailable", "slow down", "reset")
View = tuple[pafs.FileSystem, str]


@pytest.fixture
def view(proxied_store: Store) -> View:
    """A view of a store that holds `known` and `folder/{a,deep/b}`."""
    proxied_store.write(b"a", "folder", "a")
    proxied_store.write(b"bb", "folder", "deep", "b")
    return arrow_filesystem(proxied_store)


def read(fs: pafs.FileSystem, path: str) -> bytes:
    with fs.open_input_stream(path) as file:
        return file.read()


def write(fs: pafs.FileSystem, path: str, data: bytes) -> None:
    with fs.open_output_stream(path) as file:
        file.write(data)


def kinds(fs: pafs.FileSystem, folder: str, recursive: bool = True) -> dict[str, int | None]:
    found = fs.get_file_info(pafs.FileSelector(folder, recursive=recursive))
    return {each.path.removeprefix(f"{folder}/"): each.size for each in found}


FOLDER = {"a": 1, "deep": None, "deep/b": 2}
# What is done, and what is then there. Each is done anew for each fault.
OPERATIONS: dict[str, tuple[Callable[[pafs.FileSystem, str], object], object]] = {
    "info": (lambda fs, root: fs.get_file_info(f"{root}/known").size, 6),
    "info of a folder": (
        lambda fs, root: fs.get_file_info(f"{root}/folder").type,
        pafs.FileType.Directory,
    ),
    "info of nothing": (
        lambda fs, root: fs.get_file_info(f"{root}/nothing").type,
        pafs.FileType.NotFound,
    ),
    "list": (lambda fs, root: kinds(fs, f"{root}/folder", recursive=False), {"a": 1, "deep": None}),
    "list all": (lambda fs, root: kinds(fs, f"{root}/folder"), FOLDER),
    "read": (lambda fs, root: read(fs, f"{root}/known"), b"before"),
    "read at": (lambda fs, root: fs.open_input_file(f"{root}/known").read_at(3, 1), b"efo"),
    "write": (
        lambda fs, root: (write(fs, f"{root}/new", b"new"), read(fs, f"{root}/new"))[1],
        b"new",
    ),
    "copy": (
        lambda fs, root: (fs.copy_file(f"{root}/known", f"{root}/k"), read(fs, f"{root}/k"))[1],
        b"before",
    ),
    "delete": (
        lambda fs, root: (fs.delete_file(f"{root}/known"), kinds(fs, root, recursive=False))[1],
        {"folder": None},
    ),
    "delete a folder": (
        lambda fs, root: (fs.delete_dir(f"{root}/folder"), kinds(fs, root))[1],
        {"known": 6},
    ),
    "empty a folder": (
        lambda fs, root: (fs.delete_dir_contents(f"{root}/folder"), kinds(fs, root))[1],
        {"known": 6},
    ),
    "move": (
        lambda fs, root: (fs.move(f"{root}/known", f"{root}/m"), kinds(fs, root, False))[1],
        {"folder": None, "m": 6},
    ),
    "move a folder": (
        lambda fs, root: (fs.move(f"{root}/folder", f"{root}/f"), kinds(fs, f"{root}/f"))[1],
        FOLDER,
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_outlasts_each_fault_and_some_at_later_requests(
    view: View, proxy: FaultProxy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowkd.store.retry.FIRST_PAUSE", 0.02)
    operation, expected = OPERATIONS[name]
    chance = random.Random(0)
    proxy.requests.clear()
    # Expired credentials come once: what is refused with new ones is refused for good.
    proxy.fail("expired", *TRANSIENT)
    proxy.fail(*chance.choices(["pass", *TRANSIENT], [20, 1, 1, 1, 1], k=200))
    assert operation(*view) == expected
    faults = [request.split(" ", 1)[1] for request in proxy.requests]
    assert faults[:5] == ["expired", *TRANSIENT]


def test_what_is_denied_fails_at_once_with_the_stores_words(view: View, proxy: FaultProxy) -> None:
    fs, root = view
    for name, (operation, _) in OPERATIONS.items():
        proxy.requests.clear()
        proxy.fail("denied")
        with pytest.raises(
            StoreError, match=r"cannot .* in bucket 'flowkd'.*set AWS_ACCESS_KEY_ID"
        ):
            operation(fs, root)
        assert [request.split()[1] for request in proxy.requests] == ["denied"], name


def test_a_read_that_breaks_off_goes_on_where_it_was(
    view: View, proxied_store: Store, proxy: FaultProxy
) -> None:
    fs, root = view
    data = os.urandom(600_000)
    proxied_store.write(data, "large")
    proxied_store.fs.default_block_size = 100_000  # several requests an object
    with fs.open_input_file(f"{root}/large") as file:
        found = file.read(50_000)
        proxy.fail("truncate")
        while len(found) < len(data):
            proxy.fail("reset", "expired")  # a new filesystem, with blocks of its own size
            found += file.read(170_000)
    assert found == data
    assert any("truncate" in request for request in proxy.requests)


def test_an_object_that_is_replaced_between_two_reads_is_no_mixture(
    view: View, proxied_store: Store, proxy: FaultProxy
) -> None:
    fs, root = view
    proxied_store.write(b"1" * 300_000, "changing")
    proxied_store.fs.default_block_size = 100_000
    with fs.open_input_file(f"{root}/changing") as file:
        assert file.read(10) == b"1" * 10
        Store(proxied_store.uri, proxied_store.options).write(b"2" * 300_000, "changing")
        proxy.fail("expired")
        file.seek(290_000)
        with pytest.raises(StoreError, match="changing"):
            file.read(10)


@pytest.mark.parametrize("size", [0, 12 * 2**20, 101 * 2**20])  # the last in parts
def test_an_object_of_any_size_travels_both_ways_through_faults(
    view: View, proxy: FaultProxy, tmp_path: Path, size: int
) -> None:
    fs, root = view
    data = os.urandom(size)
    (tmp_path / "there").write_bytes(data)
    proxy.fail("unavailable", "pass", "reset", "pass", "internal error")
    pafs.copy_files(str(tmp_path / "there"), f"{root}/object", pafs.LocalFileSystem(), fs)
    assert fs.get_file_info(f"{root}/object").size == size
    proxy.fail("pass", "pass", "pass", "truncate", "unavailable")
    pafs.copy_files(f"{root}/object", str(tmp_path / "back"), fs, pafs.LocalFileSystem())
    assert (tmp_path / "back").read_bytes() == data


def nameless() -> dict[str, str]:
    """The open files of this process that have no name."""
    found = {}
    for fd in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            found[fd] = os.readlink(f"/dev/fd/{fd}")
    return {fd: target for fd, target in found.items() if target.endswith(" (deleted)")}


def test_what_is_not_closed_was_never_there(view: View, proxy: FaultProxy) -> None:
    fs, root = view
    proxy.requests.clear()
    before = nameless()
    file = fs.open_output_stream(f"{root}/half")
    file.write(b"half")
    assert len(nameless()) == len(before) + 1  # so nothing stays on disk after a kill -9 either
    del file
    assert nameless() == before
    assert proxy.requests == []
    assert fs.get_file_info(f"{root}/half").type == pafs.FileType.NotFound


def test_a_failed_upload_leaves_nothing_and_is_told(view: View, proxy: FaultProxy) -> None:
    fs, root = view
    before = nameless()
    file = fs.open_output_stream(f"{root}/denied")
    file.write(b"data")
    proxy.fail("denied")
    with pytest.raises(StoreError, match="cannot write 'denied' in bucket"):
        file.close()
    assert nameless() == before
    assert fs.get_file_info(f"{root}/denied").type == pafs.FileType.NotFound


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_pyarrow_meets_the_errors_that_it_knows(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    store.write(b"1", "folder", "object")
    fs, root = arrow_filesystem(store)
    missing, folder, file = f"{root}/missing", f"{root}/folder", f"{root}/folder/object"
    for call in (fs.open_input_stream, fs.open_input_file, fs.delete_file, fs.delete_dir):
        with pytest.raises(FileNotFoundError):
            call(missing)
    for copying in (fs.copy_file, fs.move):
        with pytest.raises(FileNotFoundError):
            copying(missing, f"{root}/other")
    with pytest.raises(FileNotFoundError):
        fs.get_file_info(pafs.FileSelector(missing))
    assert fs.get_file_info(pafs.FileSelector(missing, allow_not_found=True)) == []
    for reading in (fs.open_input_stream, fs.delete_file):
        with pytest.raises(IsADirectoryError):
            reading(folder)
    for listing in (fs.delete_dir, lambda path: fs.get_file_info(pafs.FileSelector(path))):
        with pytest.raises(NotADirectoryError):
            listing(file)
    assert store.read("folder", "object") == b"1"


def test_paths_outside_the_store_are_refused(memory_store: Store) -> None:
    fs, root = arrow_filesystem(memory_store)
    memory_store.write(b"1", "x")
    for path in ("/elsewhere/x", f"{root}/../x"):
        with pytest.raises(StoreError, match="expected a path"):
            fs.get_file_info(path)
    with pytest.raises(StoreError, match="written whole"):
        fs.open_append_stream(f"{root}/x")
    with pytest.raises(StoreError, match="name one inside"):
        fs.delete_dir_contents("/", accept_root_dir=True)


@pytest.mark.parametrize("kind", ["local", "s3", "memory"])
def test_tables_and_folders_travel(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fs, root = arrow_filesystem(request.getfixturevalue(f"{kind}_store"))
    table = pa.table({"x": list(range(1000))})
    fs.create_dir(f"{root}/tables/deep", recursive=True)
    fs.create_dir(f"{root}/tables/deep", recursive=True)  # already there
    parquet.write_table(table, f"{root}/tables/deep/x.parquet", filesystem=fs)
    assert parquet.read_table(f"{root}/tables/deep/x.parquet", filesystem=fs) == table
    (tmp_path / "back").mkdir()
    pafs.copy_files(f"{root}/tables", str(tmp_path / "back"), fs, pafs.LocalFileSystem())
    assert parquet.read_table(tmp_path / "back" / "deep" / "x.parquet") == table


def test_it_pickles_by_what_it_was_made_from(view: View) -> None:
    fs, root = view
    again = pickle.loads(pickle.dumps(fs))
    assert again == fs
    assert read(again, f"{root}/known") == b"before"
    assert fs != arrow_filesystem(Store("s3://flowkd/elsewhere"))[0]
