"""A bit that is flipped in any object of a model is refused by its name, and is that object's."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from flowkd.errors import StoreError
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifacts import PARTS, load_artifact, publish_artifact
from flowkd.registry.pins import load_pinned, pin_artifact
from flowkd.registry.removal import remove_version
from flowkd.store.store import Store
from flowkd.training.dependents import dependents
from flowkd.training.logs.metrics import RunLog
from jobs.cli.main import app
from tests.support.damage import damaged, objects_below
from tests.support.small_flows import CONFIGS, small_flow
from tests.support.small_runs import furnish

OBJECTS = ["aliases/best/00000001.json", *(f"VERSION/{name}" for name in (*PARTS, "manifest.json"))]
FLIPS = 20


def publish(store: Store, model: str) -> str:
    flow = small_flow("coupling", dtype=torch.float32)
    version = publish_artifact(store, model, flow, CONFIGS["coupling"], metrics={"bits": 3.5})
    set_alias(store, model, "best", version)
    return version


@pytest.fixture
def store(local_store: Store) -> Store:
    """Two models of one version each, with an alias."""
    for model in ("bad", "good"):
        publish(local_store, model)
    return local_store


def call(store: Store, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--store", store.uri])
    return result.exit_code, result.output


def version_of(store: Store, model: str) -> str:
    return load_artifact(store, f"models/{model}@best").version


def test_these_are_all_objects_of_a_model(store: Store) -> None:
    version = version_of(store, "bad")
    names = [name.replace("VERSION", version) for name in OBJECTS]
    found = objects_below(store, "models", "bad")
    assert sorted(found) == sorted(f"models/bad/{name}" for name in names)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_flipped_bit_is_refused_by_the_name_of_its_object(store: Store, name: str) -> None:
    version = version_of(store, "bad")
    path = f"models/bad/{name.replace('VERSION', version)}"
    pinned = pin_artifact(store, "models/bad@best")
    for seed in range(FLIPS):
        with damaged(store, path, seed):
            with pytest.raises(StoreError, match=path):
                load_artifact(store, "models/bad@best")
            if name.startswith("VERSION"):  # by its version, the alias is not asked
                with pytest.raises(StoreError, match=path):
                    load_pinned(store, pinned)
    assert load_pinned(store, pinned)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_others_are_listed_and_the_damaged_one_is_told(store: Store, name: str) -> None:
    version = version_of(store, "bad")
    path = f"models/bad/{name.replace('VERSION', version)}"
    with damaged(store, path, 1):
        code, said = call(store, "models", "verify", "--json")
        found = {each["reference"]: each["damage"] for each in json.loads(said)}
        faulty = [reference for reference, damage in found.items() if damage]
        at = "models/bad@best" if "aliases" in name else f"models/bad@{version}"
        assert (code, faulty) == (1, [at])
        assert path in " ".join(found[at])
        listing = "aliases" in name or "manifest" in name  # it reads no more
        code, said = call(store, "models", "list")
        assert code == int(listing)
        assert version_of(store, "good") in said
        assert version in said
        assert (f"{at} is damaged: {path}" in said) == listing
        rows = json.loads(call(store, "models", "list", "--json")[1])
        assert [row["model"] for row in rows if not row["damage"]].count("good") == 1
        assert any(row["damage"] for row in rows) == listing
    assert call(store, "models", "verify")[0] == 0


def test_a_version_that_is_lost_without_being_removed_is_told(store: Store) -> None:
    version = publish(store, "bad")
    store.remove("models", "bad", version, "manifest.json")
    code, said = call(store, "models", "list")
    assert code == 1
    assert f"models/bad@best is damaged: it points at version {version}, whose manifest is" in said
    with pytest.raises(StoreError, match=version):  # rather than the one before it
        load_artifact(store, "models/bad@best")
    with pytest.raises(StoreError, match=f"no version models/bad/{version}"):
        set_alias(store, "bad", "best", version)


def test_a_damaged_version_holds_up_no_removal_but_that_of_its_own_teacher(
    store: Store,
) -> None:
    other = publish(store, "good")
    first = next(v for v in store.list("models", "good") if v not in (other, "aliases"))
    with damaged(store, f"models/bad/{version_of(store, 'bad')}/manifest.json", 3):
        remove_version(store, "good", first)
    with damaged(store, "models/good/aliases/best/00000002.json", 3):
        with pytest.raises(StoreError, match=r"alias 'best' points at, which is damaged: .*move"):
            remove_version(store, "good", other)
        set_alias(store, "good", "best", other)


def test_damaged_runs_and_data_sets_are_listed_beside_the_others(local_store: Store) -> None:
    furnish(local_store)
    with RunLog(local_store, "other") as log:
        log.append({"step": 5, "validation_bits_per_dim": 3.0})
    for name in ("config.yaml", "resolved.yaml", "metrics/00000001-0001-0-00000000.jsonl"):
        with damaged(local_store, f"runs/teacher/{name}", 5):
            code, said = call(local_store, "runs", "list", "--json")
            rows = {row["run"]: row for row in json.loads(said)}
            assert (code, rows["other"]["step"]) == (1, 5)
            assert f"runs/teacher/{name}" in rows["teacher"]["damage"]
            assert rows["teacher"]["state"] == "finished"
            said = call(local_store, "runs", "list")[1]
            assert f"runs/teacher is damaged: runs/teacher/{name}" in said
            dependents(local_store, "walks")
    with damaged(local_store, "datasets/pictures/manifest.json", 5):
        code, said = call(local_store, "data", "list", "--json")
        assert code == 1
        assert {row["name"]: bool(row["damage"]) for row in json.loads(said)} == {
            "pictures": True, "walks": False,
        }  # fmt: skip
        assert "datasets/pictures is damaged" in call(local_store, "data", "list")[1]
    for what in ("runs", "data", "models"):
        assert call(local_store, what, "list")[0] == 0
