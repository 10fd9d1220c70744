"""Properties of artifacts that are damaged, foreign or hostile: refused, and never executed."""

import hashlib
import pickle
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from flowkd.config import dump_config
from flowkd.errors import FlowkdError, StoreError
from flowkd.registry.artifacts import PARTS, ArtifactConfig, load_artifact, write_artifact
from flowkd.store.sealed import read_sealed, seal_json, write_sealed
from tests.support.small_flows import CONFIGS, small_flow

FOLDER = "runs/one/result"


@pytest.fixture
def written(memory_store):
    """A store with the result of run `one`."""
    flow = small_flow("coupling", dtype=torch.float32)
    write_artifact(memory_store, FOLDER, flow, CONFIGS["coupling"])
    load_artifact(memory_store, "runs/one")
    return memory_store


def replace(store, name, data):
    """Puts other bytes in place of a part, and a manifest that says that they belong there."""
    store.write(data, FOLDER, name)
    manifest = read_sealed(store, FOLDER, "manifest.json")
    manifest["parts"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    write_sealed(store, manifest, FOLDER, "manifest.json")


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], flip, lambda data: b""])
def test_a_damaged_part_is_refused(written, part, damage):
    written.write(damage(written.read(FOLDER, part)), FOLDER, part)
    message = rf"{FOLDER}/{part} of memory://.* expected .* bytes of SHA-256 .*; got"
    with pytest.raises(StoreError, match=message):
        load_artifact(written, "runs/one")


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_refused(written, part):
    written.remove(FOLDER, part)
    with pytest.raises(StoreError, match=f"no object '{FOLDER}/{part}' in store memory://"):
        load_artifact(written, "runs/one")


def without_metrics(manifest):
    del manifest["parts"]["metrics.json"]


def with_more(manifest):
    manifest["parts"]["../../../secret"] = manifest["parts"]["metrics.json"]


@pytest.mark.parametrize("change", [without_metrics, with_more])
def test_a_manifest_of_other_parts_is_refused(written, change):
    manifest = read_sealed(written, FOLDER, "manifest.json")
    change(manifest)
    write_sealed(written, manifest, FOLDER, "manifest.json")
    with pytest.raises(
        StoreError, match=r"expected parts config.yaml, weights.safetensors, .*; got"
    ):
        load_artifact(written, "runs/one")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "manifest.json of memory.* is damaged: expected a record"),
        (b'{"format": 1, "par', "is damaged: expected a record that ends with its SHA-256"),
        (seal_json({"format": 1, "created": ""})[1:], "is damaged: expected content of SHA-256"),
        (
            seal_json({"format": 2, "created": "", "parts": {}}),
            "format: Input should be 1; got 2",
        ),
        (seal_json({"format": 1, "created": ""}), "parts: missing"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(written, text, message):
    written.write(text, FOLDER, "manifest.json")
    with pytest.raises(FlowkdError, match=message):
        load_artifact(written, "runs/one")


class Bomb:
    """A pickle of it creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_never_executed(written, tmp_path):
    executed = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(executed))
    pickle.loads(bomb)
    assert executed.exists()
    executed.unlink()
    file = tmp_path / "weights.pt"
    torch.save(Bomb(executed), file)
    for data in (bomb, file.read_bytes()):
        replace(written, "weights.safetensors", data)
        with pytest.raises(StoreError, match="the weights do not fit the config"):
            load_artifact(written, "runs/one")
    yaml = f"flow: !!python/object/apply:pathlib.Path.touch [{executed}]"
    replace(written, "config.yaml", yaml.encode())
    with pytest.raises(StoreError, match="could not determine a constructor"):
        load_artifact(written, "runs/one")
    assert not executed.exists()


def header(text, length=None):
    """A tensor file of a header alone, which may claim another length than it has."""
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    "data",
    [
        header(b"{}", 10 * 2**30),
        header(b"{}" + b" " * 100, 2**63),
        header(b'{"a": {"dtype": "F32", "shape": [2684354560], "data_offsets": [0, 10737418240]}}'),
        header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-8, -4]}}'),
        header(
            b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}'
        ),
    ],
)
def test_a_tensor_file_that_claims_what_it_has_not_is_refused(written, data):
    replace(written, "weights.safetensors", data)
    with pytest.raises(StoreError, match="weights do not fit the config"):
        load_artifact(written, "runs/one")


def test_weights_of_another_flow_are_refused(written):
    state = small_flow("coupling", dtype=torch.float32).state_dict()
    fewer = dict(list(state.items())[:-1])
    wider = {**state, "chain.step0.actnorm.bias": torch.zeros(6)}
    for weights, message in (
        (fewer, "Missing key"),
        ({**state, "chain.more": torch.zeros(1)}, "Unexpected key"),
        (wider, "size mismatch"),
    ):
        replace(written, "weights.safetensors", safetensors.torch.save(weights))
        with pytest.raises(StoreError, match=f"weights do not fit the config: [^$]*{message}"):
            load_artifact(written, "runs/one")


def test_a_config_of_another_flow_is_refused(written):
    config = ArtifactConfig(flow=CONFIGS["coupling"].model_copy(update={"width": 9}))
    replace(written, "config.yaml", dump_config(config).encode())
    with pytest.raises(StoreError, match="weights do not fit the config"):
        load_artifact(written, "runs/one")
    replace(written, "config.yaml", b"flow: {kind: tarflow}")
    with pytest.raises(FlowkdError, match=r"flow: .*'tarflow'"):
        load_artifact(written, "runs/one")
