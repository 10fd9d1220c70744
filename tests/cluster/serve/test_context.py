"""Contexts over HTTP: categories by name, and remarks on values far outside of the training's."""

import json

import pytest

from cluster.serve.config import ServingConfig
from cluster.storage import StorageConfig
from flowkd.data.facts import DataFacts
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifacts import publish_artifact
from tests.support.serving import NPY, ok, post, replica_in_process

TABLE = {"event_shape": (3,), "mean": 0.0, "scale": 1.0, "width": 8}
MODELS = {
    "kinds": (
        CouplingConfig(**TABLE, classes=3),
        DataFacts(class_names=["cat", "dog", "löwe"]),
    ),
    "energies": (
        CouplingConfig(**TABLE, context_size=1, context_mean=500.0, context_scale=300.0),
        DataFacts(context_columns=["größe"], context_minimum=[0.0], context_maximum=[1e3]),
    ),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory, serve_port, portal):
    storage = StorageConfig(uri=str(tmp_path_factory.mktemp("store")))
    store = storage.store()
    for name, (config, facts) in MODELS.items():
        version = publish_artifact(store, name, build_flow(config), config, data=facts)
        set_alias(store, name, "best", version)
    served = {name: f"models/{name}@best" for name in MODELS}
    config = ServingConfig(models=served, port=serve_port, batch_wait_timeout_s=0.02)
    with replica_in_process(config, storage, portal) as client:
        yield client


@pytest.mark.parametrize("operation", ["sample", "log_prob"])
def test_a_context_far_outside_is_remarked_in_json_and_in_a_header(client, operation):
    body = {"x": [[0.0, 1.0, 2.0]]} if operation == "log_prob" else {"n": 1, "seed": 1}
    near, far = ({**body, "context": [value]} for value in (400.0, 4e6))
    answer = ok(post(client, "energies", near, operation=operation))
    assert answer.json()["remarks"] == []
    assert "x-flowkd-remarks" not in answer.headers
    [remark] = ok(post(client, "energies", far, operation=operation)).json()["remarks"]
    assert "'größe': 4e+06 is far outside of 0 to 1000" in remark
    binary = ok(post(client, "energies", far, accept=NPY, operation=operation))
    assert json.loads(binary.headers["x-flowkd-remarks"]) == [remark]


def test_categories_are_taken_by_their_names(client):
    by_name, by_number = (
        ok(post(client, "kinds", {"n": 2, "seed": 1, "context": context})).json()["samples"]
        for context in (["löwe", "dog"], [2, 1])
    )
    assert by_name == by_number
    refused = post(client, "kinds", {"context": "bird"})
    assert refused.status_code == 422
    assert "its classes are: cat, dog, löwe" in refused.json()["error"]["message"]
