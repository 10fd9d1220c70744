"""A service on Ray Serve: limits, swaps without a failed request, and models that do not load."""

import logging.handlers
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import ray

from cluster.serve.deployment import ServingError, _warn_without_door, deploy, serving_app
from cluster.storage import StorageConfig
from flowkd.errors import StoreError
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifact_manifest import resolve
from tests.support.serving import CONFIGS, ok, post, publish


def replicas():
    actors = ray.util.list_named_actors(all_namespaces=True)
    return {actor["name"] for actor in actors if "#FlowServer#" in actor["name"]}


def test_a_model_swaps_while_requests_go_on(ray_client, config, storage):
    store, before = storage.store(), replicas()
    old = resolve(store, "models/photos@best").rpartition("/")[2]
    new = publish(store, "photos", seed=2)
    stop, statuses, seen = threading.Event(), [], set()

    def keep_asking():
        while not stop.is_set():
            response = post(ray_client, "photos", {"seed": 1})
            statuses.append(response.status_code)
            seen.add((response.json()["model_version"], response.content))

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(keep_asking) for _ in range(3)]
        try:
            ok(post(ray_client, "photos", {"seed": 1}))
            set_alias(store, "photos", "best", new)
            deploy(config, storage)
            ok(post(ray_client, "photos", {"seed": 1}))
        finally:
            stop.set()
            set_alias(store, "photos", "best", old)
        for each in asking:
            each.result()
    assert set(statuses) == {200}
    assert sorted(version for version, _ in seen) == sorted([old, new])
    assert replicas() == before
    deploy(config, storage)
    assert ok(post(ray_client, "photos", {})).json()["model_version"] == old


def test_a_model_that_cannot_be_loaded_leaves_the_others(ray_client, config, storage):
    with pytest.raises(StoreError, match=r"no 'worst' of model 'photos'.*aliases: best"):
        deploy(config.model_copy(update={"models": {"photos": "models/photos@worst"}}), storage)
    store = storage.store()
    broken = publish(store, "photos", seed=3)
    store.write(b"cut off", "models", "photos", broken, "weights.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cluster.serve.deployment.READY_TIMEOUT_S", 3)
        with pytest.raises(ServingError, match="cannot be loaded is in the log"):
            deploy(config.model_copy(update={"models": {"a": f"models/photos@{broken}"}}), storage)
    served = ok(ray_client.get("/healthz")).json()["models"]
    assert served == list(CONFIGS)
    ok(post(ray_client, "photos", {}))


def test_a_deployment_keeps_rays_own_lines_out_of_the_output(ray_client, config, storage):
    lines = logging.handlers.BufferingHandler(1000)
    logger = logging.getLogger("ray.serve")
    logger.addHandler(lines)
    try:
        deploy(config, storage)
        assert [line.getMessage() for line in lines.buffer] == []
        logger.info("of a user's own deployment")
        assert len(lines.buffer) == 1
    finally:
        logger.removeHandler(lines)


def test_a_store_in_memory_is_refused(config):
    with pytest.raises(StoreError, match="cannot share memory://"):
        serving_app(config, StorageConfig(uri="memory://x"))


def test_a_service_without_its_door_is_told(ray_client, capsys):
    asked = {"X-Flowkd-Door": "1"}
    behind_door = ray_client.get("/healthz", headers=asked)
    assert "x-flowkd-told" not in behind_door.headers
    _warn_without_door(behind_door)
    assert capsys.readouterr().err == ""
    _warn_without_door(httpx.Response(200, headers={"x-flowkd-told": "{}"}))
    assert "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=cluster.serve.door" in capsys.readouterr().err
