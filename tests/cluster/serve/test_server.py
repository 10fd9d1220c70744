"""A replica: batches of requests to several models, and the versions that it answers with."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from cluster.serve import server
from cluster.serve.deployment import pinned_models
from cluster.serve.server import Job
from flowkd.predict.predictor import Predictor
from flowkd.predict.requests import LogProbRequest, SampleRequest
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifact_manifest import resolve
from flowkd.registry.artifacts import load_artifact
from tests.support.queues import wait_for
from tests.support.serving import ok, post, publish, replica_in_process


def test_concurrent_requests_get_what_each_gets_alone(any_client):
    # The table's samples are floats, in which the last bit counts.
    requests = [
        (name, {"n": 1 + i % 5, "seed": i, "temperature": 0.9})
        for i in range(12)
        for name in ("table", "photos")
    ]
    alone = [ok(post(any_client, *request)).content for request in requests]
    for _ in range(2):
        with ThreadPoolExecutor(len(requests)) as pool:
            together = list(pool.map(lambda request: post(any_client, *request), requests))
        assert [ok(response).content for response in together] == alone


def test_concurrent_log_probs_get_what_each_gets_alone(client):
    requests = [
        (name, {"x": np.full((1 + i % 3, *shape), i + 0.5).tolist()})
        for i in range(12)
        for name, shape in (("table", (5,)), ("photos", (3, 8, 8)))
    ]

    def log_prob(request):
        return ok(post(client, *request, operation="log_prob")).content

    alone = [log_prob(request) for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        assert list(pool.map(log_prob, requests)) == alone


def test_what_nobody_waits_for_is_not_computed(client, monkeypatch):
    computed, jobs, computing, go = [], [], threading.Event(), threading.Event()
    decode = Predictor.decode

    class Seen(Job):
        def __init__(self, *args):
            super().__init__(*args)
            jobs.append(self)

    def slowly(predictor, batch):
        computing.set()
        assert go.wait(60)
        computed.extend(inputs.z[0, 0].item() for inputs in batch)
        return decode(predictor, batch)

    monkeypatch.setattr(server, "Job", Seen)
    monkeypatch.setattr(Predictor, "decode", slowly)

    def ask(seed):
        return client.start(
            "/v1/models/table/sample",
            content=b'{"seed": %d}' % seed,
            headers={"Content-Type": "application/json"},
        )

    first = ask(0)
    assert computing.wait(60)
    others = [ask(seed) for seed in range(1, 6)]
    wait_for(lambda: len(jobs) == 6)
    for each in others[:3]:
        each.cancel()
    wait_for(lambda: all(each.done() for each in others[:3]))
    client.get("/healthz")  # by when the loop has taken note of it
    go.set()
    for each in (first, *others[3:]):
        ok(each.result(60))
    first_latents = [
        torch.randn(1, 5, generator=torch.Generator().manual_seed(seed))[0, 0].item()
        for seed in (0, 4, 5)
    ]
    assert sorted(computed) == sorted(first_latents)


@pytest.mark.parametrize("operation", ["sample", "log_prob"])
def test_a_large_request_takes_turns_with_small_ones(client, monkeypatch, operation):
    rows, shape = 100, (3, 8, 8)
    x = np.random.default_rng(0).integers(0, 256, (rows, *shape)).tolist()
    large = {"n": rows, "seed": 0} if operation == "sample" else {"x": x}
    small = {"n": 1, "seed": 1} if operation == "sample" else {"x": x[:1]}
    alone = [
        ok(post(client, "photos", body, operation=operation)).json() for body in (large, small)
    ]
    name = "decode" if operation == "sample" else "score"
    compute, computed = getattr(Predictor, name), 0
    begun, small_is_answered = threading.Event(), threading.Event()

    def seen(predictor, batch):
        nonlocal computed
        computed += sum(len(piece) for piece in batch if len(piece) > 1)
        begun.set()
        assert computed < rows or small_is_answered.wait(30)
        return compute(predictor, batch)

    monkeypatch.setattr(server, "PIECE_S", 1e-9)
    monkeypatch.setattr(Predictor, name, seen)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, client, "photos", large, operation=operation)
        assert begun.wait(30)
        second = pool.submit(post, client, "photos", small, operation=operation)
        second.add_done_callback(lambda _: small_is_answered.set())
        together = [ok(first.result(60)).json(), ok(second.result(60)).json()]
    key = "samples" if operation == "sample" else "log_prob"
    assert [each[key] for each in together] == [each[key] for each in alone]


@pytest.fixture
def moved(config, storage):
    """The alias of a service that runs: moves to another version, and back at the end."""
    store = storage.store()
    old = resolve(store, "models/table@best").rpartition("/")[2]
    yield lambda: set_alias(store, "table", "best", publish(store, "table", seed=2))
    set_alias(store, "table", "best", old)


def answer(client):
    response = ok(post(client, "table", {"n": 2, "seed": 3}))
    body = response.json()
    assert response.headers["x-flowkd-model-version"] == body["model_version"]
    return body["model_version"], body["samples"]


def samples_of(storage, version):
    predictor = Predictor.from_artifact(load_artifact(storage.store(), f"models/table@{version}"))
    return predictor.sample(SampleRequest(n=2, seed=3)).tolist()


def test_a_restarted_replica_keeps_the_version_of_its_deployment(config, storage, portal, moved):
    pinned = config.model_copy(update={"models": pinned_models(config, storage)})
    with replica_in_process(pinned, storage, portal) as client:
        version, samples = answer(client)
        assert np.array_equal(np.float32(samples), np.float32(samples_of(storage, version)))
        moved()
        assert answer(client) == (version, samples)
    with replica_in_process(pinned, storage, portal) as restarted:
        assert answer(restarted) == (version, samples)


def test_deploying_again_swaps_to_the_version_of_the_alias(config, storage, portal, moved):
    with replica_in_process(config, storage, portal) as client:
        version, samples = answer(client)
        moved()
        assert answer(client) == (version, samples)
        client.deploy()
        later, others = answer(client)
    assert later != version
    assert np.array_equal(np.float32(others), np.float32(samples_of(storage, later)))
    assert others != samples


def test_a_service_computes_by_the_engine_of_its_config(config, storage, portal):
    own = config.model_copy(update={"engine": "onnx", "models": {"table": "models/table@best"}})
    artifact = load_artifact(storage.store(), "models/table@best")
    request = LogProbRequest(x=np.linspace(-2, 4, 15, dtype=np.float32).reshape(3, 5))
    by_onnx, by_torch = (
        Predictor.from_artifact(artifact, engine).log_prob(request).log_prob.numpy()
        for engine in ("onnx", "torch")
    )
    with replica_in_process(own, storage, portal) as client:
        (model,) = client.get("/v1/models").json()["models"]
        answered = ok(post(client, "table", {"x": request.x.tolist()}, operation="log_prob")).json()
    assert model["engine"] == "onnx"
    assert np.array_equal(np.float32(answered["log_prob"]), by_onnx)
    assert np.allclose(by_onnx, by_torch, rtol=1e-5)
