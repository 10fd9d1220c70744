"""What a server answers, in each media type, is what the model gives to the last bit."""

import io

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

from cluster.serve.media import TABLES
from flowkd.flows.build import build_flow, count_parameters
from flowkd.predict.requests import LogProbRequest, SampleRequest
from flowkd.report.images import encode_png, picture_grid
from tests.support.serving import CONFIGS, JSON, NPY, PNG, npy, ok, post, post_npy


@pytest.mark.parametrize(
    ("name", "context"), [("photos", None), ("digits", [3, 7]), ("table", None)]
)
def test_samples_are_the_models(client, predictors, name, context):
    request = SampleRequest(n=2, seed=11, temperature=0.8, context=context)
    expected = predictors[name].sample(request).numpy()
    body = ok(post(client, name, request.model_dump())).json()
    assert body["seed"] == 11
    assert body["shape"] == list(expected.shape)
    assert np.array_equal(np.asarray(body["samples"], expected.dtype), expected)
    binary = ok(post(client, name, request.model_dump(), accept=NPY))
    assert binary.headers["content-type"] == NPY
    assert binary.headers["x-flowkd-seed"] == "11"
    got = np.load(io.BytesIO(binary.content))
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected)


@pytest.mark.parametrize(("name", "mode"), [("photos", "RGB"), ("digits", "L")])
def test_samples_come_as_a_picture(client, predictors, name, mode):
    context = 4 if name == "digits" else None
    request = SampleRequest(n=5, seed=2, context=context)
    response = ok(post(client, name, request.model_dump(), accept="text/html, image/*;q=0.8"))
    assert response.headers["content-type"] == PNG
    grid = picture_grid(predictors[name].sample(request).numpy(), predictors[name].bins)
    assert response.content == encode_png(grid)
    assert Image.open(io.BytesIO(response.content)).mode == mode


def test_a_seed_is_drawn_where_none_is_given(client):
    first, second = (ok(post(client, "photos", {})).json() for _ in range(2))
    assert first["seed"] != second["seed"]
    again = ok(post(client, "photos", {"seed": first["seed"]})).json()
    assert again["samples"] == first["samples"]


@pytest.mark.parametrize("name", CONFIGS)
def test_log_probs_are_the_flows(client, predictors, name):
    flow, bins = predictors[name].flow, predictors[name].bins
    context = [1, 2, 3] if name == "digits" else None
    x = torch.rand(3, *flow.event_shape) * (bins or 1)
    request = {"x": x.tolist(), "context": context}
    body = ok(post(client, name, request, operation="log_prob")).json()
    expected = predictors[name].log_prob(LogProbRequest(x=x.numpy(), context=context))
    assert body["unit"] == "nats"
    assert np.array_equal(np.float32(body["log_prob"]), expected.log_prob.numpy())
    assert np.array_equal(np.float32(body["bits_per_dim"]), expected.bits_per_dim.numpy())
    direct = flow.log_prob(x, None if context is None else torch.tensor(context))
    torch.testing.assert_close(torch.tensor(body["log_prob"]), direct, rtol=1e-5, atol=1e-3)
    query = "?context=[1,2,3]" if context else ""
    binary = ok(post_npy(client, name, npy(x.numpy()), query, accept=NPY))
    both = np.load(io.BytesIO(binary.content))
    assert both.shape == (3, 2)
    assert np.array_equal(both[:, 0], expected.log_prob.numpy())
    assert np.array_equal(both[:, 1], expected.bits_per_dim.numpy())


def test_pixels_are_dequantised_by_the_seed(client, predictors):
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), np.uint8)
    expected = predictors["photos"].log_prob(LogProbRequest(x=x, seed=5)).log_prob.numpy()
    as_json = ok(post(client, "photos", {"x": x.tolist(), "seed": 5}, operation="log_prob")).json()
    as_npy = ok(post_npy(client, "photos", npy(np.asfortranarray(x)), "?seed=5")).json()
    assert np.array_equal(np.float32(as_json["log_prob"]), expected)
    assert np.array_equal(np.float32(as_npy["log_prob"]), expected)


def test_models_are_described(client):
    described = {model["name"]: model for model in ok(client.get("/v1/models")).json()["models"]}
    assert set(described) == set(CONFIGS)
    digits = described["digits"]
    assert digits["event_shape"] == [1, 8, 8]
    assert digits["context"]["classes"] == 10
    assert digits["context"]["size"] == 0
    assert digits["columns"] is None
    assert digits["aliases"] == ["best"]
    assert digits["dimensions"] == 64
    assert ok(client.get("/v1/models/digits")).json() == digits
    assert digits["parameters"] == count_parameters(build_flow(CONFIGS["digits"][0]))
    assert digits["metrics"]["bits_per_dim"] == 3.5
    assert digits["lineage"]["dataset"] == "digits"
    assert digits["bins"] == 17
    assert digits["version"] in digits["reference"]
    assert ok(client.get("/healthz")).json() == {"status": "ok", "models": list(CONFIGS)}


def test_the_docs_need_no_network(client):
    page = ok(client.get("/docs")).text
    about = ("/v1/models/{name}/sample", "temperature", "bits_per_dim", "Unit of log_prob")
    for expected in (*about, "photos", "3 x 8 x 8", "curl"):
        assert expected in page
    assert "https://" not in page
    assert "<script" not in page


def test_answers_and_requests_are_as_openapi_describes_them(client):
    described = ok(client.get("/openapi.json")).json()
    table = {"n": 2, "temperature": 0.5, "seed": 1}
    rows = {"x": [{"x4": 4, "x0": 0.0, "x1": 1, "x2": 2, "x3": 3}]}
    exchanges = {
        ("post", "/v1/models/{name}/sample"): (table, post(client, "table", table)),
        ("post", "/v1/models/{name}/log_prob"): (
            rows,
            post(client, "table", rows, JSON, "log_prob"),
        ),
        ("get", "/v1/models"): (None, client.get("/v1/models")),
        ("get", "/v1/models/{name}"): (None, client.get("/v1/models/table")),
        ("get", "/healthz"): (None, client.get("/healthz")),
    }
    assert set(described["paths"]) == {path for _, path in exchanges}

    def check(value, content):
        schema = {**content[JSON]["schema"], "components": described["components"]}
        jsonschema.validate(value, schema)

    for (method, path), (request, response) in exchanges.items():
        route = described["paths"][path][method]
        check(ok(response).json(), route["responses"]["200"]["content"])
        if request:
            check(request, route["requestBody"]["content"])
            with pytest.raises(jsonschema.ValidationError, match="count"):
                check({**request, "count": 1}, route["requestBody"]["content"])
    refused = client.get("/v1/models/table/sample")
    check(refused.json(), described["paths"]["/healthz"]["get"]["responses"]["4XX"]["content"])
    log_prob = described["paths"]["/v1/models/{name}/log_prob"]["post"]
    assert set(log_prob["requestBody"]["content"]) == {JSON, NPY, *TABLES}
    assert {each["name"] for each in log_prob["parameters"]} == {"name", "context", "seed"}
