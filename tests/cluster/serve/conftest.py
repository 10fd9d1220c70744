"""One real Ray Serve for all tests of this folder."""

import httpx
import pytest
from ray import serve

from cluster.serve.app import deploy
from cluster.serve.config import ServingConfig
from cluster.storage import StorageConfig
from flowkd.predict.model import Model
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifacts import load_artifact
from tests.support.asking import CONFIGS, LIMITS, publish


@pytest.fixture(scope="package")
def storage(tmp_path_factory):
    storage = StorageConfig(uri=str(tmp_path_factory.mktemp("store")))
    store = storage.store()
    for name in CONFIGS:
        set_alias(store, name, "best", publish(store, name, seed=1))
    return storage


@pytest.fixture(scope="package")
def models(storage):
    """The models, to compute in this process what the server should answer."""
    store = storage.store()
    return {name: Model.of(load_artifact(store, f"models/{name}@best")) for name in CONFIGS}


@pytest.fixture(scope="package")
def config(serve_port):
    references = {name: f"models/{name}@best" for name in CONFIGS}
    return ServingConfig(models=references, port=serve_port, limits=LIMITS, batch_wait_ms=20)


@pytest.fixture(scope="package")
def client(ray_driver, config, storage):
    try:
        with httpx.Client(base_url=deploy(config, storage), trust_env=False, timeout=30) as client:
            yield client
    finally:
        serve.shutdown()
