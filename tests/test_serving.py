"""A real Ray Serve, over real HTTP: every route, every media type, every refusal."""

import io
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import orjson
import pytest
import ray
import torch
from PIL import Image
from ray import serve

from cluster.local import down, up
from cluster.serving import ServingConfig, ServingError, deploy, serving_app
from cluster.storage import StorageConfig
from flowkd.artifacts import Lineage, load_artifact, publish_artifact, resolve, set_alias
from flowkd.build import CouplingConfig, GlowConfig, build_flow
from flowkd.errors import StoreError
from flowkd.grid import encode_png, picture_grid
from flowkd.query import Model, SampleRequest, ScoreRequest, sample, score

GLOW = {"levels": 2, "steps": 2, "width": 16}
CONFIGS = {
    "photos": (GlowConfig(event_shape=(3, 8, 8), mean=128.0, scale=256.0, **GLOW), 256),
    "digits": (GlowConfig(event_shape=(1, 8, 8), mean=8.5, scale=17.0, classes=10, **GLOW), 17),
    "table": (CouplingConfig(event_shape=(5,), mean=1.0, scale=2.0, width=16), None),
}
BODY_BYTES = 200_000
JSON, PNG, NPY = "application/json", "image/png", "application/x-npy"
LIMITS = {"n_max": 100, "body_bytes": BODY_BYTES, "queue": 40}


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory):
    """The address of a local Ray, exported as RAY_ADDRESS."""
    record = tmp_path_factory.mktemp("ray") / "cluster.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        address = up(cpus=4, record=record).address
        patch.setenv("RAY_ADDRESS", address)
        yield address
        down(record=record)


def publish(store, name, seed):
    config, bins = CONFIGS[name]
    flow = build_flow(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return publish_artifact(
        store,
        name,
        flow,
        config,
        metrics={"bits_per_dim": 3.5},
        lineage=Lineage(dataset=name, bins=bins),
    )


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = StorageConfig(uri=str(tmp_path_factory.mktemp("store")))
    store = storage.store()
    for name in CONFIGS:
        set_alias(store, name, "best", publish(store, name, seed=1))
    return storage


@pytest.fixture(scope="module")
def models(storage):
    """The models, to compute in this process what the server should answer."""
    store = storage.store()
    return {name: Model.of(load_artifact(store, f"models/{name}@best")) for name in CONFIGS}


@pytest.fixture(scope="module")
def config(free_port):
    references = {name: f"models/{name}@best" for name in CONFIGS}
    return ServingConfig(models=references, port=free_port, limits=LIMITS, batch_wait_ms=20)


@pytest.fixture(scope="module")
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def client(ray_cluster, config, storage):
    ray.init(address=ray_cluster, log_to_driver=False, logging_level="WARNING")
    try:
        with httpx.Client(base_url=deploy(config, storage), trust_env=False, timeout=30) as client:
            yield client
    finally:
        serve.shutdown()
        ray.shutdown()


def ask(client, model, values, accept=JSON, operation="sample", **options):
    return client.post(
        f"/v1/models/{model}/{operation}",
        content=orjson.dumps(values),
        headers={"Content-Type": JSON, "Accept": accept, **options},
    )


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def send_npy(client, model, body, query="", accept=JSON):
    headers = {"Content-Type": NPY, "Accept": accept}
    return client.post(f"/v1/models/{model}/log_prob{query}", content=body, headers=headers)


def ok(response):
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize(
    ("name", "context"), [("photos", None), ("digits", [3, 7]), ("table", None)]
)
def test_samples_are_the_models(client, models, name, context):
    request = SampleRequest(n=2, seed=11, temperature=0.8, context=context)
    expected = sample(models[name], request).numpy()
    body = ok(ask(client, name, request.model_dump())).json()
    assert body["seed"] == 11
    assert body["shape"] == list(expected.shape)
    assert np.array_equal(np.asarray(body["samples"], expected.dtype), expected)
    binary = ok(ask(client, name, request.model_dump(), accept=NPY))
    assert binary.headers["content-type"] == NPY
    assert binary.headers["x-flowkd-seed"] == "11"
    got = np.load(io.BytesIO(binary.content))
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected)


@pytest.mark.parametrize(("name", "mode"), [("photos", "RGB"), ("digits", "L")])
def test_samples_come_as_a_picture(client, models, name, mode):
    context = 4 if name == "digits" else None
    request = SampleRequest(n=5, seed=2, context=context)
    response = ok(ask(client, name, request.model_dump(), accept="text/html, image/*;q=0.8"))
    assert response.headers["content-type"] == PNG
    grid = picture_grid(sample(models[name], request).numpy(), models[name].bins)
    assert response.content == encode_png(grid)
    assert Image.open(io.BytesIO(response.content)).mode == mode


def test_a_seed_is_drawn_where_none_is_given(client):
    first, second = (ok(ask(client, "photos", {})).json() for _ in range(2))
    assert first["seed"] != second["seed"]
    again = ok(ask(client, "photos", {"seed": first["seed"]})).json()
    assert again["samples"] == first["samples"]


def test_concurrent_requests_get_what_each_gets_alone(client):
    # The table's samples are floats, in which the last bit counts.
    requests = [("table", {"n": 1 + i % 5, "seed": i, "temperature": 0.9}) for i in range(16)]
    requests += [("photos", {"n": 1 + i % 3, "seed": i}) for i in range(8)]
    alone = [ok(ask(client, name, values)).content for name, values in requests]
    for _ in range(2):
        with ThreadPoolExecutor(len(requests)) as pool:
            together = list(pool.map(lambda request: ask(client, *request), requests))
        assert [ok(response).content for response in together] == alone


@pytest.mark.parametrize("name", CONFIGS)
def test_scores_are_the_flows(client, models, name):
    flow, bins = models[name].flow, models[name].bins
    context = [1, 2, 3] if name == "digits" else None
    x = torch.rand(3, *flow.event_shape) * (bins or 1)
    body = ok(ask(client, name, {"x": x.tolist(), "context": context}, operation="log_prob")).json()
    expected = score(models[name], ScoreRequest(x=x.numpy(), context=context))
    assert np.array_equal(np.float32(body["nats"]), expected.nats.numpy())
    assert np.array_equal(np.float32(body["bits_per_dim"]), expected.bits_per_dim.numpy())
    direct = flow.log_prob(x, None if context is None else torch.tensor(context))
    torch.testing.assert_close(torch.tensor(body["nats"]), direct, rtol=1e-5, atol=1e-3)
    query = "?context=[1,2,3]" if context else ""
    binary = ok(send_npy(client, name, npy(x.numpy()), query, accept=NPY))
    both = np.load(io.BytesIO(binary.content))
    assert both.shape == (3, 2)
    assert np.array_equal(both[:, 0], expected.nats.numpy())
    assert np.array_equal(both[:, 1], expected.bits_per_dim.numpy())


def test_pixels_are_dequantised_by_the_seed(client, models):
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), np.uint8)
    expected = score(models["photos"], ScoreRequest(x=x, seed=5)).nats.numpy()
    as_json = ok(ask(client, "photos", {"x": x.tolist(), "seed": 5}, operation="log_prob")).json()
    as_npy = ok(send_npy(client, "photos", npy(np.asfortranarray(x)), "?seed=5")).json()
    assert np.array_equal(np.float32(as_json["nats"]), expected)
    assert np.array_equal(np.float32(as_npy["nats"]), expected)


def test_models_are_described(client, models):
    described = {model["name"]: model for model in ok(client.get("/v1/models")).json()["models"]}
    assert set(described) == set(CONFIGS)
    digits = described["digits"]
    assert digits["event_shape"] == [1, 8, 8]
    assert digits["context"] == {"classes": 10, "size": 0}
    assert digits["parameters"] == sum(p.numel() for p in models["digits"].flow.parameters())
    assert digits["metrics"] == {"bits_per_dim": 3.5}
    assert digits["lineage"]["dataset"] == "digits"
    assert digits["bins"] == 17
    assert digits["version"] in digits["reference"]
    assert ok(client.get("/healthz")).json() == {"status": "ok", "models": list(CONFIGS)}


def test_the_docs_need_no_network(client):
    page = ok(client.get("/docs")).text
    for expected in ("/v1/models/{name}/sample", "temperature", "photos", "3 x 8 x 8", "curl"):
        assert expected in page
    assert "https://" not in page
    assert "<script" not in page
    paths = ok(client.get("/openapi.json")).json()["paths"]
    assert set(paths) == {
        "/v1/models/{name}/sample",
        "/v1/models/{name}/log_prob",
        "/v1/models",
        "/healthz",
    }
    body = paths["/v1/models/{name}/sample"]["post"]["requestBody"]["content"][JSON]["schema"]
    assert set(body["properties"]) == {"n", "temperature", "seed", "context"}


SAMPLE, SCORE = "/v1/models/photos/sample", "/v1/models/photos/log_prob"
TABLE = "/v1/models/table/sample"
PIXELS = np.zeros((2, 3, 8, 8))
REFUSALS = {
    "unknown model": (
        "/v1/models/cats/sample",
        b"{}",
        {},
        404,
        "served are: photos, digits, table",
    ),
    "unknown route": ("/v2/photos", b"{}", {}, 404, "see /docs"),
    "no JSON": (SAMPLE, b"{n: 1}", {}, 400, "expected JSON"),
    "empty body": (SAMPLE, b"", {}, 400, "got an empty one"),
    "JSON with NaN": (SCORE, b'{"x": [NaN]}', {}, 400, "expected JSON"),
    "another media type": (SAMPLE, b"{}", {"Content-Type": "text/csv"}, 415, "got text/csv"),
    "npy to sample": (SAMPLE, npy(PIXELS), {"Content-Type": NPY}, 415, f"Content-Type: {JSON}"),
    "another Accept": (SAMPLE, b"{}", {"Accept": "text/html"}, 406, "application/x-npy"),
    "a table as PNG": (TABLE, b"{}", {"Accept": PNG}, 406, "does not make pictures"),
    "scores as PNG": (SCORE, b"{}", {"Accept": PNG}, 406, "application/json or application/x-npy"),
    "unknown field": (SAMPLE, b'{"count": 1}', {}, 422, "count: unknown key"),
    "n too small": (SAMPLE, b'{"n": 0}', {}, 422, "n: Input should be greater than"),
    "n too large": (SAMPLE, b'{"n": 101}', {}, 422, "at most 100 examples of 192 values; got 101"),
    "temperature": (SAMPLE, b'{"temperature": 0}', {}, 422, "temperature: Input should be gre"),
    "unexpected context": (SAMPLE, b'{"context": 1}', {}, 422, "expects no context"),
    "no context": ("/v1/models/digits/sample", b"{}", {}, 422, "a class 0..9"),
    "x missing": (SCORE, b"{}", {}, 422, "x: missing"),
    "another shape": (SCORE, b'{"x": [[1, 2]]}', {}, 422, "(N, 3, 8, 8)"),
    "text": (SCORE, b'{"x": ["a"]}', {}, 422, "expected integers or floats"),
    "no npy": (SCORE, b"12345678901", {"Content-Type": NPY}, 400, "expected a .npy file"),
    "npy cut off": (SCORE, npy(PIXELS)[:-9], {"Content-Type": NPY}, 400, "cut off"),
    "npy with NaN": (SCORE, npy(PIXELS * np.nan), {"Content-Type": NPY}, 422, "got nan at"),
    "npy of bool": (SCORE, npy(PIXELS > 0), {"Content-Type": NPY}, 422, "got dtype bool"),
    "npy of objects": (SCORE, npy(np.array([{}])), {"Content-Type": NPY}, 422, "dtype object"),
    "not a pixel": (SCORE, npy(PIXELS - 1), {"Content-Type": NPY}, 422, "from 0 to 256"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_why(client, case):
    path, body, headers, status, message = REFUSALS[case]
    response = client.post(path, content=body, headers={"Content-Type": JSON, **headers})
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    assert message in error["message"]


def test_other_methods_are_refused(client):
    response = client.get(SAMPLE)
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_too_large_is_refused(client, streamed):
    part = b" " * 65536
    body = (part for _ in range(400)) if streamed else part * 400
    response = client.post(SCORE, content=body, headers={"Content-Type": JSON})
    assert response.status_code == 413
    assert f"at most {BODY_BYTES} bytes" in response.json()["error"]["message"]
    ok(client.get("/healthz"))


def test_more_than_the_queue_is_refused(client):
    def one(seed):
        return ask(client, "photos", {"n": 100, "seed": seed})

    with ThreadPoolExecutor(70) as pool:
        responses = list(pool.map(one, range(70)))
    refused = [response for response in responses if response.status_code != 200]
    assert refused
    assert len(refused) < len(responses)
    for response in refused:
        assert response.status_code == 503
        if response.headers["content-type"] == JSON:
            assert response.json()["error"]["code"] == "overloaded"
    ok(client.get("/healthz"))


def replicas():
    actors = ray.util.list_named_actors(all_namespaces=True)
    return {actor["name"] for actor in actors if "#FlowServer#" in actor["name"]}


def test_a_model_swaps_while_requests_go_on(client, config, storage):
    store, before = storage.store(), replicas()
    old = resolve(store, "models/photos@best").rpartition("/")[2]
    new = publish(store, "photos", seed=2)
    stop, statuses, seen = threading.Event(), [], set()

    def keep_asking():
        while not stop.is_set():
            response = ask(client, "photos", {"seed": 1})
            statuses.append(response.status_code)
            seen.add((response.json()["version"], response.content))

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(keep_asking) for _ in range(3)]
        try:
            ok(ask(client, "photos", {"seed": 1}))
            set_alias(store, "photos", "best", new)
            deploy(config, storage)
            ok(ask(client, "photos", {"seed": 1}))
        finally:
            stop.set()
            set_alias(store, "photos", "best", old)
        for each in asking:
            each.result()
    assert set(statuses) == {200}
    assert sorted(version for version, _ in seen) == sorted([old, new])
    assert replicas() == before
    deploy(config, storage)
    assert ok(ask(client, "photos", {})).json()["version"] == old


def test_a_model_that_cannot_be_loaded_leaves_the_others(client, config, storage):
    with pytest.raises(StoreError, match="no 'worst' of model 'photos'.*aliases: best"):
        deploy(config.model_copy(update={"models": {"photos": "models/photos@worst"}}), storage)
    store = storage.store()
    broken = publish(store, "photos", seed=3)
    store.write(b"cut off", "models", "photos", broken, "weights.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cluster.serving.HEALTHY_SECONDS", 3)
        with pytest.raises(ServingError, match="cannot be loaded is in the log"):
            deploy(config.model_copy(update={"models": {"a": f"models/photos@{broken}"}}), storage)
    served = ok(client.get("/healthz")).json()["models"]
    assert served == list(CONFIGS)
    ok(ask(client, "photos", {}))


def test_a_store_in_memory_is_refused(config):
    with pytest.raises(StoreError, match="cannot share memory://"):
        serving_app(config, StorageConfig(uri="memory://x"))
