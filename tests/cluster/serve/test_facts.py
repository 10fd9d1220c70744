"""A served model's values are called as its data set calls them, if that is still its own."""

import numpy as np
import pytest

from cluster.serve.facts import ModelFacts, facts_of
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.registry.artifacts import load_artifact, publish_artifact
from flowkd.registry.card import Lineage


@pytest.fixture
def store(memory_store):
    splits = {
        split: SplitArrays(np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32))
        for split in ("train", "val", "test")
    }
    write_dataset(
        memory_store, "sky", splits, kind="table", columns=["ra", "dec", "z"], source="a test"
    )
    return memory_store


def served(store, dataset, size=3):
    config = CouplingConfig(event_shape=(size,), mean=0.0, scale=1.0, width=4)
    lineage = Lineage(dataset=dataset)
    version = publish_artifact(store, "flow", build_flow(config), config, lineage=lineage)
    return load_artifact(store, f"models/flow@{version}")


def test_columns_are_those_of_the_data_set(store):
    assert facts_of(served(store, "sky"), store).columns == ["ra", "dec", "z"]


@pytest.mark.parametrize(("dataset", "size"), [(None, 3), ("gone", 3), ("sky", 2)])
def test_what_is_not_known_is_not_guessed(store, dataset, size):
    assert facts_of(served(store, dataset, size), store) == ModelFacts()
