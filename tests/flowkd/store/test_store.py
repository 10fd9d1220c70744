"""The store's contract, over every kind of filesystem."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from s3fs import S3FileSystem

from flowkd.errors import StoreError
from flowkd.store.store import Store
from flowkd.store.uri import SUBMITTED, default_uri

KINDS = ["local", "memory", "s3", "moto"]
MIB = 2**20


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture(params=["s3", "moto"])
def bucket(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(f"{request.param}_store")


def payload(size: int) -> bytes:
    return hashlib.shake_256(b"flowkd").digest(size)


def test_round_trip_and_overwrite(store: Store) -> None:
    for data in (b"first", payload(70_000), b""):
        store.write(data, "runs", "a", "weights.bin")
        assert store.read("runs/a/weights.bin") == data


def test_json_round_trip(store: Store) -> None:
    value = {"a": [1, 2.5, None], "name": "gaußian"}
    store.write_json(value, "x.json")
    assert store.read_json("x.json") == value


def test_what_is_not_json_is_named(store: Store) -> None:
    store.write(b"{half", "runs", "x.json")
    with pytest.raises(StoreError, match=r"expected JSON in 'runs/x\.json'.*\{half"):
        store.read_json("runs", "x.json")


def test_list_is_sorted_direct_and_fresh(store: Store) -> None:
    assert store.list("models") == []
    store.write(b"1", "models", "b", "v1", "x")
    store.write(b"1", "models", "a.txt")
    assert store.list("models") == ["a.txt", "b"]
    store.write(b"1", "models", "c")
    assert store.list("models") == ["a.txt", "b", "c"]
    assert store.list("models", "a.txt") == []
    assert store.list() == ["models"]


def test_exists_sees_objects_and_folders_and_what_is_new(store: Store) -> None:
    assert not store.exists("runs")
    assert not store.exists("runs", "a")
    store.write(b"1", "runs", "a", "x")
    assert store.exists("runs", "a", "x")
    assert store.exists("runs", "a")
    assert not store.exists("runs", "a", "y")


def test_remove_takes_an_object_or_a_folder_and_nothing_else(store: Store) -> None:
    for name in ("a/x", "a/y/z", "ab/x"):
        store.write(b"1", "runs", name)
    store.remove("runs", "a", "x")
    assert store.list("runs", "a") == ["y"]
    store.remove("runs", "a")
    assert store.list("runs") == ["ab"]
    store.remove("runs", "a")
    assert store.list("runs") == ["ab"]


def test_a_missing_object_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match="no object 'runs/x' in store"):
        store.read("runs", "x")


def test_a_folder_is_no_object(store: Store) -> None:
    store.write(b"1", "runs", "x")
    with pytest.raises(StoreError, match="no object 'runs' in store"):
        store.read("runs")


@pytest.mark.parametrize("parts", [("..", "x"), ("a", "../../x"), ("/etc/x",), ("a", "/x")])
def test_paths_outside_the_root_are_refused(store: Store, parts: tuple[str, ...]) -> None:
    for operation in (store.read, store.exists, store.remove, store.list):
        with pytest.raises(StoreError, match="expected a path inside"):
            operation(*parts)
    with pytest.raises(StoreError, match="expected a path inside"):
        store.write(b"1", *parts)


def test_an_empty_part_does_not_stand_for_the_folder_above(store: Store) -> None:
    store.write(b"1", "models", "x")
    with pytest.raises(StoreError, match="expected a path inside"):
        store.remove("models", "")
    assert store.exists("models", "x")


@pytest.mark.parametrize("name", ["*", "a?", "[ab]c"])
def test_what_is_called_like_a_pattern_is_removed_alone(store: Store, name: str) -> None:
    store.write(b"", "folder", "abc", "object")
    store.write(b"", "folder", "ac", "object")
    path = f"{store.path('folder')}/{name}/inner/object"
    if store.is_local:
        Path(path).parent.mkdir(parents=True)
    store.fs.pipe_file(path, b"")
    assert name in store.list("folder")
    store.remove_child(name, "folder")
    assert store.list("folder") == ["abc", "ac"]
    store.remove_child(name, "folder")  # silent where there is none
    store.remove_child("ac", "folder")
    assert store.list("folder") == ["abc"]
    for odd in ("", "..", "abc/object"):
        with pytest.raises(StoreError, match="expected a name in 'folder'"):
            store.remove_child(odd, "folder")


def test_a_pattern_never_removes_its_matches(store: Store) -> None:
    store.write(b"1", "run1")
    for pattern in ("run[1]", "run?", "*"):
        with pytest.raises(StoreError, match="expected a name without"):
            store.remove(pattern)
    assert store.list() == ["run1"]


@pytest.mark.parametrize("kind", ["local", "s3", "moto"])
def test_it_pickles_and_works_in_another_process(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    store.write(b"from the parent", "parent")  # opened, and pickled nevertheless
    pickled = tmp_path / "store.pkl"
    pickled.write_bytes(pickle.dumps(store))
    code = (
        "import pathlib, pickle, sys; store = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes());"
        "store.write(store.read('parent')[::-1], 'child')"
    )
    subprocess.run([sys.executable, "-c", code, str(pickled)], check=True, timeout=60)
    assert store.read("child") == b"from the parent"[::-1]


def test_a_folder_keeps_its_name_on_disk(tmp_path: Path) -> None:
    Store(str(tmp_path / "ä b%20")).write(b"1", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["ä b%20"]


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.write(b"1", "x")
    assert (tmp_path / "here" / "x").read_bytes() == b"1"


def test_a_file_that_is_being_written_has_nothing_of_its_name(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    replace = os.replace

    def watched(source: str, target: str) -> None:
        seen.extend(path.name for path in Path(target).parent.iterdir())
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    local_store.write(b"1", "events.out.tfevents.1")  # a reader takes each file with such a name
    assert len(seen) == 1
    assert "tfevents" not in seen[0]


def test_no_temporary_file_remains_or_shows(local_store: Store) -> None:
    local_store.write(b"1", "x")
    folder = Path(local_store.path())
    (folder / "y.0123.tmp").write_bytes(b"half of")  # as a killed writer leaves it
    assert local_store.list() == ["x"]
    assert sorted(path.name for path in folder.iterdir()) == ["x", "y.0123.tmp"]


def test_a_reader_never_sees_half_of_a_write(local_store: Store) -> None:
    versions = [bytes([letter]) * (2 * MIB) for letter in b"abcdefgh"]
    local_store.write(versions[0], "x")
    done = threading.Event()

    def write() -> None:
        try:
            for _ in range(4):
                for version in versions:
                    local_store.write(version, "x")
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = []
    while not done.is_set():
        reads.append(local_store.read("x"))
    writer.join()
    assert len(reads) > 1
    assert all(read in versions for read in reads)


def test_a_large_object_goes_to_s3_in_parts(bucket: Store) -> None:
    data = payload(12 * MIB)
    with bucket.fs.open(bucket.path("large"), "wb", block_size=5 * MIB) as file:
        for start in range(0, len(data), 5 * MIB):
            file.write(data[start : start + 5 * MIB])
    assert bucket.fs.info(bucket.path("large"))["ETag"].strip('"').endswith("-3")
    assert bucket.read("large") == data
    bucket.write(data[::-1], "large")
    assert bucket.read("large") == data[::-1]


def test_what_another_process_wrote_is_seen_after_a_listing(bucket: Store) -> None:
    bucket.write(b"1", "runs", "a")
    assert bucket.list("runs") == ["a"]
    S3FileSystem(skip_instance_cache=True).pipe_file(bucket.path("runs", "b"), b"2")
    assert bucket.exists("runs", "b")
    assert bucket.list("runs") == ["a", "b"]


def test_folder_markers_of_other_tools_are_no_names(bucket: Store) -> None:
    bucket.fs.pipe_file(bucket.path("runs") + "/", b"")
    bucket.fs.pipe_file(bucket.path("runs", "a") + "/", b"")
    bucket.write(b"1", "runs", "b")
    assert bucket.list("runs") == ["a", "b"]
    bucket.remove("runs")
    assert bucket.list() == []


def test_what_cannot_be_opened_says_why() -> None:
    with pytest.raises(StoreError, match=r"cannot open store s4://b: .*s4"):
        Store("s4://b").read("x")
    with pytest.raises(StoreError, match="expected a store URI"):
        Store("")


def test_the_default_is_a_folder_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FLOWKD_STORE", raising=False)
    assert default_uri() == "store"
    monkeypatch.setenv("FLOWKD_STORE", "s3://bucket/prefix")
    assert default_uri() == "s3://bucket/prefix"


@pytest.mark.parametrize("uri", ["store", "./x", "../x", "file://x", "file://./x", "local://x"])
def test_a_relative_store_is_refused_in_a_submitted_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Path(uri.partition("://")[2] or uri)
    assert Store(uri).uri == f"file://{(tmp_path / relative).resolve()}"
    monkeypatch.setenv(SUBMITTED, "{}")
    with pytest.raises(StoreError, match=f"got {uri!r}, .*give --store /folder or s3://"):
        Store(uri)


@pytest.mark.parametrize("uri", ["/x", "~/x", "file:///x", "s3://bucket/x", "memory://x"])
def test_any_other_store_is_the_same_in_a_submitted_job(
    monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    here = Store(uri).uri
    monkeypatch.setenv(SUBMITTED, "{}")
    assert Store(uri).uri == here


def test_the_sign_of_a_submitted_job_is_rays() -> None:
    assert SUBMITTED == RAY_JOB_CONFIG_JSON_ENV_VAR
