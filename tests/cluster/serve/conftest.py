"""Small models, served in this process for most tests, and by one real Ray Serve for some."""

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from ray import serve

from cluster.serve.config import ServingConfig
from cluster.serve.deployment import deploy
from cluster.storage import StorageConfig
from flowkd.flows.coupling import CouplingConfig
from flowkd.predict.predictor import Predictor
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from tests.support.api import serve_flow
from tests.support.serving import CONFIGS, LIMITS, publish, replica_in_process


@pytest.fixture(scope="package")
def storage(tmp_path_factory):
    storage = StorageConfig(uri=str(tmp_path_factory.mktemp("store")))
    store = storage.store()
    for name in CONFIGS:
        set_alias(store, name, "best", publish(store, name, seed=1))
    return storage


@pytest.fixture(scope="package")
def predictors(storage):
    """The models in this process, to compute what a server should answer."""
    store = storage.store()
    return {
        name: Predictor.from_artifact(load_artifact(store, f"models/{name}@best"))
        for name in CONFIGS
    }


@pytest.fixture(scope="package")
def config(serve_port):
    references = {name: f"models/{name}@best" for name in CONFIGS}
    return ServingConfig(
        models=references, port=serve_port, limits=LIMITS, batch_wait_timeout_s=0.02
    )


@pytest.fixture(scope="package")
def tables():
    """Models of tables with names: of stars, given a vector; of kinds, given a class; of neither.

    And one of pictures.
    """
    store = Store("memory://named-tables")
    names = ["ra", "dec", "the, flux", "z"]
    table = {"event_shape": (4,), "mean": 0.0, "scale": 1.0, "width": 8}
    yield {
        "stars": serve_flow(
            store,
            "stars",
            CouplingConfig(**table, context_size=2, context_mean=0.0, context_scale=1.0),
            columns=names,
            units={"z": "km/s"},
            context_columns=["energy", "angle"],
            context_minimum=[0.0, -1.0],
            context_maximum=[9.0, 1.0],
        ),
        "kinds": serve_flow(
            store,
            "kinds",
            CouplingConfig(**table, classes=3),
            columns=names,
            context_columns=["kind"],
            class_names=["star", "galaxy", "quasar"],
        ),
        "plain": serve_flow(store, "plain", CouplingConfig(**table)),
        "photos": serve_flow(store, "photos", *CONFIGS["photos"]),
    }
    store.remove()


@pytest.fixture(scope="session")  # files of other packages may run between those of this one
def portal():
    """An event loop in a thread of its own, which lives as long as the queues of @serve.batch."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="package")
def client(config, storage, portal):
    with replica_in_process(config, storage, portal) as client:
        yield client


@pytest.fixture(scope="package")
def ray_client(ray_driver, config, storage):
    """A client of the same models on Ray Serve, over real HTTP."""
    try:
        with httpx.Client(base_url=deploy(config, storage), trust_env=False, timeout=30) as client:
            yield client
    finally:
        serve.shutdown()


@pytest.fixture(params=["client", "ray_client"])
def any_client(request):
    return request.getfixturevalue(request.param)
