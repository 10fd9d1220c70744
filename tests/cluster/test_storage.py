"""One StorageConfig is flowkd's Store and Ray's filesystem, and says clearly what is wrong."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from fsspec.registry import _registry
from pyarrow import fs as pafs
from s3fs import S3FileSystem

from cluster.storage import StorageConfig, check
from flowkd.config import dump_config, load_config, parse_config
from flowkd.errors import ConfigError, StoreError
from flowkd.store.store import Store
from tests.support.servers.swift import SwiftServer

FILES = {"weights.bin": b"w" * 70_000, "sub/rng.bin": b"r", "sub/deep/empty": b""}


@pytest.fixture(params=["local", "s3"])
def config(request: pytest.FixtureRequest) -> StorageConfig:
    return StorageConfig(uri=request.getfixturevalue(f"{request.param}_store").uri)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "checkpoint" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "checkpoint"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_travels_through_rays_filesystem(
    config: StorageConfig, folder: Path, tmp_path: Path
) -> None:
    remote, root = config.ray_filesystem()
    local = pafs.LocalFileSystem()
    remote.create_dir(f"{root}/runs/a", recursive=True)
    pafs.copy_files(str(folder), f"{root}/runs/a", local, remote)
    assert config.store().list("runs", "a") == ["sub", "weights.bin"]
    assert config.store().read("runs", "a", "sub", "rng.bin") == b"r"

    (tmp_path / "back").mkdir()
    pafs.copy_files(f"{root}/runs/a", str(tmp_path / "back"), remote, local)
    assert contents(tmp_path / "back") == FILES

    remote.delete_dir(f"{root}/runs/a")
    assert not config.store().exists("runs", "a")


def test_rays_filesystem_pickles_and_works_in_another_process(
    config: StorageConfig, folder: Path, tmp_path: Path
) -> None:
    config.store().write(b"parent", "parent")
    pickled = tmp_path / "filesystem.pkl"
    pickled.write_bytes(pickle.dumps((config, *config.ray_filesystem(), str(folder))))
    code = """
import pathlib, pickle, sys
from pyarrow import fs
config, remote, root, folder = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
assert remote.open_input_stream(f"{root}/parent").read() == b"parent"
remote.create_dir(f"{root}/child", recursive=True)
fs.copy_files(folder, f"{root}/child", fs.LocalFileSystem(), remote)
assert config.store().read("child", "sub", "rng.bin") == b"r"
"""
    subprocess.run([sys.executable, "-c", code, str(pickled)], check=True, timeout=60)
    assert config.store().list("child") == ["sub", "weights.bin"]


def test_it_pickles_unconnected(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens
    remote, root = StorageConfig(uri=s3_store.uri).ray_filesystem()
    assert pickle.loads(pickle.dumps(remote)) == remote
    assert root == s3_store.uri.removeprefix("s3://")


def test_pyarrow_sees_what_the_store_holds(config: StorageConfig) -> None:
    config.store().write(b"1", "models", "m")
    fs, root = config.arrow_filesystem()
    assert (fs, root) == config.ray_filesystem()
    with fs.open_output_stream(f"{root}/models/n") as file:
        file.write(b"2")
    assert config.store().read("models", "n") == b"2"
    found = fs.get_file_info(pafs.FileSelector(root, recursive=True))
    assert {each.path.removeprefix(f"{root}/") for each in found if each.is_file} == {
        "models/m",
        "models/n",
    }


def test_memory_is_refused_for_ray() -> None:
    config = StorageConfig(uri="memory://x")
    config.store().write(b"1", "y")  # flowkd itself may, and pyarrow in the same process
    fs, root = config.arrow_filesystem()
    assert fs.get_file_info(f"{root}/y").size == 1
    with pytest.raises(StoreError, match=r"cannot share memory://x.*use a folder or s3://"):
        config.ray_filesystem()


def test_it_reads_back_from_yaml_with_an_absolute_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = StorageConfig(uri="store", options={"endpoint_url": "http://127.0.0.1:9000"})
    assert config.uri == f"file://{tmp_path}/store"
    (tmp_path / "storage.yaml").write_text(dump_config(config))
    monkeypatch.chdir("/")
    assert load_config(StorageConfig, tmp_path / "storage.yaml") == config


def test_from_uri_takes_the_environments_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWKD_STORE", "s3://bucket/prefix")
    assert StorageConfig.from_uri(None).uri == "s3://bucket/prefix"
    assert StorageConfig.from_uri("memory://x").uri == "memory://x"
    assert StorageConfig.from_uri("s3://b", endpoint_url="http://h").options == {
        "endpoint_url": "http://h"
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"uri": ""}, "uri: .*expected a store URI"),
        ({"uri": "s3://b", "options": {"secret": "x"}}, r"belong in the environment.*\['secret'\]"),
        ({"uri": "s3://b", "endpoint": "x"}, "endpoint: unknown key"),
    ],
)
def test_faulty_configurations_are_explained(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(StorageConfig, values, source="storage")


@pytest.mark.parametrize("kind", ["local", "memory", "s3"])
def test_check_leaves_nothing_behind(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    check(store)
    assert store.list() == []


def test_a_missing_bucket_is_named_and_not_created(swift_store: Store) -> None:
    with pytest.raises(StoreError, match=r"write .* in bucket 'nowhere'.*create the bucket first"):
        check(Store("s3://nowhere/prefix"))
    assert not swift_store.fs.exists("nowhere")


def test_a_wrong_secret_is_denied(swift_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(StoreError, match=r"write .* in bucket 'flowkd'.*set AWS_ACCESS_KEY_ID"):
        check(swift_store)


def test_an_endpoint_that_does_not_answer_is_named(
    swift_store: Store, s3_server: SwiftServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    config = StorageConfig.from_uri(s3_server.uri(), endpoint_url="http://127.0.0.1:9")
    with pytest.raises(
        StoreError, match=r"write .* in bucket 'flowkd'.*http://127.0.0.1:9 is right"
    ):
        check(config.store())


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot write .*/file.*a part of the path is a file"):
        check(Store(str(tmp_path / "file")))


def test_s3_without_s3fs_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StoreError, match=r"s3fs.*pip install 'flowkd\[cluster\]'"):
        check(StorageConfig.from_uri("s3://bucket/prefix").store())
