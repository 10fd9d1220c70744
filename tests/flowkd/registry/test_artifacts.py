"""Properties of artifacts: what is read back is what was written, and it never changes."""

import hashlib

import pytest
import torch

from flowkd.errors import StoreError
from flowkd.flows.coupling import CouplingConfig
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifact_manifest import resolve, versions
from flowkd.registry.artifacts import (
    PARTS,
    Lineage,
    load_artifact,
    publish_artifact,
    write_artifact,
)
from flowkd.store.store import Store
from tests.support.small_flows import CONFIGS, small_batch, small_flow

FOLDER = "runs/one/result"
LINEAGE = Lineage(dataset="walks", run="one", teacher="models/big@best", commit="abc", bins=17)


@pytest.fixture(params=["memory_store", "s3_store"])
def any_store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def written(memory_store):
    """A store with the result of run `one`."""
    write(memory_store)
    return memory_store


def write(store, folder=FOLDER, name="coupling", seed=0):
    flow = small_flow(name, seed=seed, dtype=torch.float32)
    write_artifact(
        store,
        folder,
        flow,
        CONFIGS[name],
        training={"name": "one"},
        metrics={"validation_bits_per_dim": 3.5, "steps": 6},
        lineage=LINEAGE,
    )
    return flow


@torch.no_grad()
def test_what_is_read_is_what_was_written(any_store):
    name = "glow of classes"
    flow = write(any_store, name=name)
    artifact = load_artifact(any_store, "runs/one")
    x, context = small_batch(flow, dtype=torch.float32)
    expected, found = (each(x, context) for each in (flow, artifact.flow))
    assert torch.equal(found.z, expected.z)
    assert torch.equal(found.log_prob, expected.log_prob)
    assert artifact.flow.state_dict().keys() == flow.state_dict().keys()
    assert not artifact.flow.training
    assert not any(parameter.requires_grad for parameter in artifact.flow.parameters())
    assert artifact.config.flow == CONFIGS[name]
    assert artifact.config.training == {"name": "one"}
    assert artifact.metrics == {"validation_bits_per_dim": 3.5, "steps": 6}
    assert artifact.manifest.lineage == LINEAGE
    assert artifact.reference == "runs/one"
    card = any_store.read(FOLDER, "README.md").decode()
    assert all(
        word in card
        for word in ("| steps | 6 |", "- teacher: models/big@best", "conditioned on one of ")
    )


def test_the_manifest_comes_last_and_names_each_part(written, monkeypatch):
    assert set(written.list("runs", "one", "result")) == {*PARTS, "manifest.json"}
    manifest = written.read_json(FOLDER, "manifest.json")
    for name, part in manifest["parts"].items():
        data = written.read(FOLDER, name)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (part["bytes"], part["sha256"])
    order = []
    whole = type(written).write
    monkeypatch.setattr(
        type(written),
        "write",
        lambda self, data, *path: (order.append(path[-1]), whole(self, data, *path)),
    )
    write(written, folder="runs/two/result")
    assert order == [*PARTS, "manifest.json"]


def test_a_write_that_reads_back_otherwise_is_no_artifact(memory_store, monkeypatch):
    whole = type(memory_store).write
    monkeypatch.setattr(
        type(memory_store), "write", lambda self, data, *path: whole(self, data[:-1], *path)
    )
    with pytest.raises(
        StoreError, match=r"config.yaml of memory://.* is not what its manifest says"
    ):
        write(memory_store)
    assert not memory_store.exists(FOLDER, "manifest.json")


def test_an_artifact_is_never_overwritten(memory_store):
    write(memory_store, seed=1)
    before = {name: memory_store.read(FOLDER, name) for name in (*PARTS, "manifest.json")}
    with pytest.raises(
        StoreError, match=rf"{FOLDER} of .* holds an artifact, and artifacts never change"
    ):
        write(memory_store, seed=2)
    assert before == {name: memory_store.read(FOLDER, name) for name in before}


def publish(store, seed=0):
    flow = small_flow("coupling", seed=seed, dtype=torch.float32)
    return publish_artifact(store, "walks", flow, CONFIGS["coupling"])


@pytest.mark.filterwarnings("ignore:of several conditional writes")
def test_an_alias_moves_and_versions_stay(any_store):
    first, second = publish(any_store, 1), publish(any_store, 2)
    assert sorted([first, second]) == versions(any_store, "walks")
    for version, seed in ((first, 1), (second, 2)):
        set_alias(any_store, "walks", "best", version)
        artifact = load_artifact(any_store, "models/walks@best")
        expected = small_flow("coupling", seed=seed, dtype=torch.float32).state_dict()
        assert artifact.version == version
        assert all(
            torch.equal(value, expected[key]) for key, value in artifact.flow.state_dict().items()
        )
        assert load_artifact(any_store, f"models/walks@{version}").version == version
    with pytest.raises(StoreError, match="models/walks/20200101"):
        set_alias(any_store, "walks", "best", "20200101")
    assert load_artifact(any_store, "models/walks@best").version == second


def test_a_version_without_a_manifest_is_invisible(memory_store):
    version = publish(memory_store)
    half = "29991231T000000-abcdef"
    for name in PARTS:
        memory_store.write(
            memory_store.read("models", "walks", version, name), "models", "walks", half, name
        )
    assert versions(memory_store, "walks") == [version]
    with pytest.raises(StoreError, match=rf"no '{half}' .*aliases: none; versions: {version}$"):
        load_artifact(memory_store, f"models/walks@{half}")
    with pytest.raises(StoreError):
        set_alias(memory_store, "walks", "best", half)


def test_what_is_not_there_is_answered_with_what_is(written):
    first, second = sorted([publish(written), publish(written)])
    set_alias(written, "walks", "best", first)
    with pytest.raises(StoreError, match=f"aliases: best; versions: {first}, {second}$"):
        resolve(written, "models/walks@worst")
    written.write(b"", "runs", "unfinished", "result", "config.yaml")
    with pytest.raises(StoreError, match=r"no finished run 'two' .*finished are: one$"):
        resolve(written, "runs/two")
    with pytest.raises(
        StoreError, match=r"no 'best' of model 'other' .*aliases: none; versions: none"
    ):
        resolve(written, "models/other@best")


@pytest.mark.parametrize(
    "reference",
    ["", "one", "runs/", "runs/one@best", "models/walks", "models/../runs@x", "data/x", "runs/a/b"],
)
def test_a_reference_of_another_form_is_refused(written, reference):
    with pytest.raises(StoreError, match="expected models/NAME@VERSION_OR_ALIAS or runs/RUN"):
        load_artifact(written, reference)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "*"])
def test_a_model_name_of_another_form_is_refused(memory_store, name):
    flow = small_flow("coupling")
    with pytest.raises(StoreError, match="expected a model name of letters"):
        publish_artifact(memory_store, name, flow, CouplingConfig())
    assert memory_store.list("models") == []


class CountingStore(Store):
    """Counts the operations on it."""

    operations = 0

    def retry(self, what, operation, *parts):
        self.operations += 1
        return super().retry(what, operation, *parts)


@pytest.mark.parametrize("by", ["version", "alias"])
def test_resolving_costs_the_same_however_many_versions_there_are(memory_store, by):
    counted = []
    for count in (1, 30):
        store = CountingStore(memory_store.uri)
        for number in range(count):
            memory_store.write_json({}, "models", "photos", f"v{number}", "manifest.json")
            set_alias(memory_store, "photos", f"alias{number}", f"v{number}")
        reference = "models/photos@v0" if by == "version" else "models/photos@alias0"
        assert resolve(store, reference) == "models/photos/v0"
        counted.append(store.operations)
    assert counted[0] == counted[1] <= 4
