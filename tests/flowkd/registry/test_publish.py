"""What is published is sound, and better than a Gaussian; what is not, by force and with a note."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import flowkd
from flowkd.bijectors import Invertible1x1
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import RefusedError
from flowkd.flows.flow import Flow
from flowkd.registry.artifacts import Artifact, load_artifact, write_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.store.store import Store
from flowkd.training.setup import run_in_process
from tests.support.small_runs import STUDENT, training

LONG = {"steps": 150, "learning_rate": 0.01, "warmup_steps": 2, "ema_decay": 0.9}


@pytest.fixture
def store(memory_store: Store) -> Store:
    """A table of skewed rows with classes, and a run that learnt it, each called `skewed`."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(900, 3)).cumsum(1)
    x = np.exp(x).astype(np.float32)
    labels = generator.integers(0, 3, 900)
    parts = {"train": slice(700), "val": slice(700, 800), "test": slice(800, 900)}
    splits = {key: SplitArrays(x[part], labels[part]) for key, part in parts.items()}
    write_dataset(
        memory_store, "skewed", splits,
        kind="table", source="a test", classes=3, mean=list(x.mean(0)), scale=list(x.std(0)),
        shard_bytes=100 * 3 * 4,
    )  # fmt: skip
    learn(memory_store, "skewed")
    return memory_store


def learn(store: Store, name: str, **changes: Any) -> None:
    values = {
        "dataset": "skewed", "train": LONG, "batch_size": 100, "validate_every": 50,
        "flow": {**STUDENT, "width": 16},
    }  # fmt: skip
    list(run_in_process(training(name, **{**values, **changes}), store))


def published(store: Store, source: str, **changes: Any) -> Artifact:
    publish_run(PublishConfig(model="m", source=f"runs/{source}", **changes), store)
    return load_artifact(store, "models/m@best")


def spoiled(flow: Flow) -> Flow:
    """The flow, its linear maps as far from invertible in float32 as a training may take them."""
    with torch.no_grad():
        for each in flow.modules():
            if isinstance(each, Invertible1x1):
                each.log_diagonal[:2] = torch.tensor([8.0, -8.0])
    return flow


def test_a_sound_run_is_published_with_its_figures_and_without_a_note(store: Store) -> None:
    artifact = published(store, "skewed")
    assert artifact.manifest.remarks == []
    assert artifact.metrics["validation_bits_per_dim"] < artifact.metrics["gaussian_bits_per_dim"]
    assert 0 < artifact.metrics["round_trip_error"] < 1e-3
    assert "Note" not in card(store)


def card(store: Store) -> str:
    version = load_artifact(store, "models/m@best").version
    return store.read("models", "m", version, "README.md").decode()


@pytest.mark.parametrize("classes", [None, 3])
def test_a_flow_that_is_worse_than_a_gaussian_is_published_by_force_alone(
    store: Store, classes: int | None
) -> None:
    learn(
        store,
        "hasty",
        train={**LONG, "steps": 1},
        flow={**STUDENT, "context": None, "classes": classes},
    )
    with pytest.raises(RefusedError) as refused:
        published(store, "hasty")
    assert store.list("models") == []
    artifact = published(store, "hasty", force=True)
    bits, gaussian = (artifact.metrics[f"{key}_bits_per_dim"] for key in ("validation", "gaussian"))
    assert bits > gaussian
    for text in (str(refused.value), card(store), artifact.manifest.remarks[0]):
        assert f"on validation it has {bits:.3f} bits/dim" in text
        assert f"same training rows {gaussian:.3f}" in text
    assert "force: true" in str(refused.value)
    assert "Published by force" in card(store)


def test_the_gaussian_is_that_of_the_rows_that_were_trained_on(store: Store) -> None:
    learn(store, "few", train_rows=20, validation_rows=30)
    found = published(store, "few", force=True).metrics["gaussian_bits_per_dim"]
    manifest = read_manifest(store, "skewed")
    x, held_out = (
        load_split(store, manifest, split, limit=rows).x.double()
        for split, rows in (("train", 20), ("val", 30))
    )
    bits = []
    for share in np.linspace(0.001, 1, 400):  # of the identity in the correlations
        correlation = (1 - share) * torch.corrcoef(x.T) + share * torch.eye(3)
        scale = x.std(0, correction=0)
        normal = torch.distributions.MultivariateNormal(
            x.mean(0), correlation * scale * scale[:, None]
        )
        bits.append(-normal.log_prob(held_out).mean().item() / (3 * math.log(2)))
    assert min(abs(each - found) for each in bits) < 0.05


def test_pictures_are_compared_with_a_gaussian_of_each_value(taught_store: Store) -> None:
    learn(
        taught_store, "pictures", dataset="pictures", batch_size=10, train={**LONG, "steps": 2},
        flow={"kind": "glow", "levels": 1, "depth": 1, "width": 4},
    )  # fmt: skip
    metrics = published(taught_store, "pictures", force=True).metrics
    # 17 values that are all as likely: log2(17) bits, and a Gaussian's are a little more.
    assert math.log2(17) < metrics["gaussian_bits_per_dim"] < math.log2(17) + 0.5


@pytest.mark.parametrize("rows", ["known", "gone"])
def test_a_run_whose_flow_does_not_undo_itself_is_published_by_force_alone(
    store: Store, rows: str
) -> None:
    artifact = load_artifact(store, "runs/skewed")
    write_artifact(
        store, "runs/spoiled/result", spoiled(artifact.flow), artifact.config.flow,
        training=artifact.config.training, metrics=artifact.metrics,
        lineage=artifact.manifest.lineage,
    )  # fmt: skip
    if rows == "gone":
        store.remove("datasets", "skewed")
    else:  # and worse than a Gaussian, as is told first
        published(store, "spoiled", force=True)
        store.remove("models")
    with pytest.raises(RefusedError, match=r"not published: (after a round|on validation)"):
        published(store, "spoiled")
    assert store.list("models") == []
    made = published(store, "spoiled", force=True)
    assert made.metrics["round_trip_error"] > 0.1
    noted = " ".join(made.manifest.remarks)
    assert "after a round trip between x and z, in float32, it is off by" in noted
    assert ("its data set 'skewed' is not in the store" in noted) == (rows == "gone")
    assert all(remark in card(store) for remark in made.manifest.remarks)
    loose = published(store, "spoiled", max_round_trip_error=1e12, force=True)
    assert not any("round trip" in remark for remark in loose.manifest.remarks)


def test_a_flow_from_memory_has_to_undo_itself_too(memory_store: Store) -> None:
    flow = spoiled(flowkd.coupling(4, depth=3, width=8, mean=0.0, scale=1.0))
    with pytest.raises(RefusedError, match=r"expected at most 0\.01: train it again.*force"):
        flowkd.publish(flow, "m", store=memory_store)
    assert memory_store.list("models") == []
    flowkd.publish(flow, "m", store=memory_store, force=True)
    assert "Published by force: after a round trip" in card(memory_store)
