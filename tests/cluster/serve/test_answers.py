"""What the server answers over real HTTP is what the model gives in this process."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from flowkd.flows.build import build_flow, count_parameters
from flowkd.predict.model import SampleRequest, ScoreRequest, sample, score
from flowkd.report.images import encode_png, picture_grid
from tests.support.asking import CONFIGS, JSON, NPY, PNG, ask, npy, ok, send_npy


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


def test_models_are_described(client):
    described = {model["name"]: model for model in ok(client.get("/v1/models")).json()["models"]}
    assert set(described) == set(CONFIGS)
    digits = described["digits"]
    assert digits["event_shape"] == [1, 8, 8]
    assert digits["context"] == {"classes": 10, "size": 0}
    assert digits["parameters"] == count_parameters(build_flow(CONFIGS["digits"][0]))
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
