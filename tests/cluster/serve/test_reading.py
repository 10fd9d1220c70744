"""What a table's model is asked by name, in each kind of body, is what it is asked by position."""

import csv
import io
import json
import re

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.serve.media import ARROW_FILE, ARROW_STREAM, CSV, JSON, NPY, PARQUET, TABLES
from cluster.serve.tables import write_table
from tests.support.api import ask
from tests.support.serving import npy, ok

NAMES = ["ra", "dec", "the, flux", "z"]
CONTEXT = ["energy", "angle"]
X = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
GIVEN = np.random.default_rng(1).uniform(0, 2, (7, 2)).astype(np.float32)


def log_prob(models, name, content, media_type=JSON, query="", **headers):
    content = orjson.dumps(content) if media_type == JSON else content
    headers = {"Content-Type": media_type, **headers}
    return ask(models, "POST", f"/v1/models/{name}/log_prob{query}", content, headers)


def bits(response):
    return np.float32(ok(response).json()["log_prob"]).tobytes()


def shuffled(names, values, media_type):
    order = np.random.default_rng(2).permutation(len(names))
    return write_table({names[i]: values[:, i] for i in order}, media_type)


def rows(names, values):
    return [dict(reversed(list(zip(names, row.tolist(), strict=True)))) for row in values]


def test_every_kind_of_body_gives_the_same_bits(tables):
    """Equal values in JSON by position, by name, in columns; .npy; CSV; Parquet; Arrow."""
    x, given = X.tolist(), GIVEN.tolist()
    expected = bits(log_prob(tables, "stars", {"x": x, "context": given}))
    columns = {name: X[:, i].tolist() for i, name in enumerate(NAMES)}
    for body in (
        {"x": rows(NAMES, X), "context": given},
        {"x": columns, "context": rows(CONTEXT, GIVEN)},
        {"x": columns, "context": {name: GIVEN[:, i].tolist() for i, name in enumerate(CONTEXT)}},
    ):
        assert bits(log_prob(tables, "stars", body)) == expected
    query = "?context=" + json.dumps(given, separators=(",", ":"))
    assert bits(log_prob(tables, "stars", npy(X), NPY, query)) == expected
    both = np.hstack([X, GIVEN])
    for media_type in TABLES:
        content = shuffled(NAMES + CONTEXT, both, media_type)
        assert bits(log_prob(tables, "stars", content, media_type)) == expected
        content = shuffled(NAMES, X, media_type)
        assert bits(log_prob(tables, "stars", content, media_type, query)) == expected


def test_one_named_context_serves_all_examples(tables):
    expected = bits(log_prob(tables, "stars", {"x": X.tolist(), "context": [3.0, 0.5]}))
    one = {"angle": 0.5, "energy": 3}
    assert bits(log_prob(tables, "stars", {"x": X.tolist(), "context": one})) == expected
    query = "?context=" + json.dumps(one)
    assert bits(log_prob(tables, "stars", npy(X), NPY, query)) == expected


def test_a_named_class_is_the_class(tables):
    classes = [0, 1, 2, 0, 1, 2, 0]
    expected = bits(log_prob(tables, "kinds", {"x": X.tolist(), "context": classes}))
    named = [{"kind": number} for number in classes]
    for context in (named, {"kind": classes}):
        assert bits(log_prob(tables, "kinds", {"x": X.tolist(), "context": context})) == expected
    columns = {name: X[:, i] for i, name in enumerate(NAMES)}
    for media_type in TABLES:
        content = write_table({"kind": np.array(classes), **columns}, media_type)
        assert bits(log_prob(tables, "kinds", content, media_type)) == expected


def test_columns_without_names_are_numbered(tables):
    expected = bits(log_prob(tables, "plain", {"x": X.tolist()}))
    names = ["x0", "x1", "x2", "x3"]
    assert bits(log_prob(tables, "plain", {"x": rows(names, X)})) == expected
    assert bits(log_prob(tables, "plain", shuffled(names, X, CSV), CSV)) == expected


ROW = dict.fromkeys(NAMES, 0.0)
REFUSED = {
    "a missing name": ("stars", {"x": [{"ra": 1.0}]}, "without 'dec', 'the, flux', 'z'"),
    "a wrong name of the context": (
        "stars",
        {"x": [ROW], "context": {"energy": 1, "phi": 2}},
        "context: expected the columns 'energy', 'angle', .* with the unknown 'phi'",
    ),
    "names for pictures": ("photos", {"x": [{"a": 1}]}, r"no names; .* shape \(N, 3, 8, 8\)"),
    "a context of none": ("plain", {"x": [[0] * 4], "context": {"a": 1}}, "expects no context"),
    "true": ("stars", {"x": [{**ROW, "z": True}], "context": [1, 2]}, r"x\[0\]\['z'\]: .* true"),
    "true in the context": ("stars", {"x": [ROW], "context": [1, True]}, r"context\[1\]: .* true"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_names_are_told(tables, case):
    name, content, message = REFUSED[case]
    response = log_prob(tables, name, content)
    assert response.status_code == 422
    assert re.search(message, response.json()["error"]["message"])


def test_a_table_without_its_context_is_refused(tables):
    response = log_prob(tables, "stars", shuffled(NAMES, X, CSV), CSV)
    assert response.status_code == 422
    assert "without 'energy', 'angle'" in response.json()["error"]["message"]
    both = shuffled(NAMES + CONTEXT, np.hstack([X, GIVEN]), CSV)
    response = log_prob(tables, "stars", both, CSV, "?context=[1,2]")
    assert "with the unknown" in response.json()["error"]["message"]


def test_pictures_come_in_no_table(tables):
    response = log_prob(tables, "photos", b"a\n1\n", CSV)
    assert response.status_code == 415
    assert response.headers["accept"] == f"{JSON}, {NPY}"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?seed=x", "seed: Input should be a valid integer; got 'x'"),
        ("?seed=1.5", "seed: Input should be a valid integer"),
        ("?seed=true", "seed: Input should be a valid integer"),
        ("?seed=1&seed=2", "seed: expected once in the query"),
        ("?x=[1]", "x: expected in the body alone"),
        ("?n=3", "n: unknown key"),
        ("?context=[1,2", "context: expected integers or floats; got '[1,2'"),
        ("?context=[1,true]", "context[1]: expected integers or floats; got true"),
        ('?context={"a":1,"a":2}', "each key once; got 'a'"),
    ],
)
def test_a_query_is_checked_as_a_body_is(tables, query, message):
    response = log_prob(tables, "stars", npy(X), NPY, query)
    assert response.status_code in (400, 422)
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize("operation", ["sample", "log_prob"])
def test_a_query_beside_json_is_refused(tables, operation):
    path, headers = f"/v1/models/plain/{operation}?n=5&seed=3", {"Content-Type": JSON}
    response = ask(tables, "POST", path, b'{"x": [[0, 0, 0, 0]]}', headers)
    assert response.status_code == 422
    assert "got n, seed; put the values into the body" in response.json()["error"]["message"]


@pytest.mark.parametrize("media_type", TABLES)
def test_limits_hold_for_tables(tables, media_type):
    content = shuffled(NAMES, X, media_type)
    response = ask(
        tables,
        "POST",
        "/v1/models/plain/log_prob",
        write_table({f"x{i}": X[:, i] for i in range(4)}, media_type),
        {"Content-Type": media_type},
        max_examples=6,
    )
    assert response.status_code == 422
    assert "at most 6" in response.json()["error"]["message"]
    path, headers = "/v1/models/stars/log_prob", {"Content-Type": media_type}
    assert ask(tables, "POST", path, content, headers, max_body_bytes=50).status_code == 413


@pytest.mark.parametrize("name", ["stars", "kinds", "plain"])
def test_every_answer_carries_the_columns(tables, name):
    names = NAMES if name != "plain" else ["x0", "x1", "x2", "x3"]
    context = {"stars": [1.0, 2.0], "kinds": 1, "plain": None}[name]
    content = orjson.dumps({"n": 3, "seed": 1, "context": context})

    def sample(accept):
        headers = {"Content-Type": JSON, "Accept": accept}
        return ok(ask(tables, "POST", f"/v1/models/{name}/sample", content, headers))

    whole = sample(JSON).json()
    assert whole["columns"] == names
    expected = np.float32(whole["samples"])
    array = sample(NPY)
    assert json.loads(array.headers["x-flowkd-columns"]) == names
    assert np.array_equal(np.load(io.BytesIO(array.content)), expected)
    header, *lines = csv.reader(io.StringIO(sample(CSV).text))
    assert header == names
    assert np.array_equal(np.float32(lines), expected)
    for accept, read in (
        (PARQUET, pq.read_table),
        (ARROW_STREAM, lambda file: pa.ipc.open_stream(file).read_all()),
        (ARROW_FILE, lambda file: pa.ipc.open_file(file).read_all()),
    ):
        response = sample(accept)
        assert response.headers["content-type"] == accept
        table = read(io.BytesIO(response.content))
        assert table.column_names == names
        assert np.array_equal(np.stack([table[each] for each in names], 1), expected)
    answer = log_prob(tables, name, {"x": expected.tolist(), "context": context})
    assert answer.json()["columns"] == names


def test_log_probs_come_as_one_column(tables):
    expected = np.float32(log_prob(tables, "plain", {"x": X.tolist()}).json()["log_prob"])
    response = ok(log_prob(tables, "plain", {"x": X.tolist()}, Accept=CSV))
    assert response.headers["content-type"].startswith(CSV)
    header, *lines = response.text.splitlines()
    assert header == "log_prob"
    assert np.array_equal(np.float32(lines), expected)


def test_a_model_says_what_a_client_needs(tables):
    stars = ok(ask(tables, "GET", "/v1/models/stars")).json()
    assert stars["columns"] == NAMES
    assert stars["units"] == {"z": "km/s"}
    assert stars["context"] == {
        "classes": 0,
        "size": 2,
        "columns": CONTEXT,
        "class_names": None,
        "minimum": [0.0, -1.0],
        "maximum": [9.0, 1.0],
    }
    kinds = ok(ask(tables, "GET", "/v1/models/kinds")).json()
    assert kinds["context"]["class_names"] == ["star", "galaxy", "quasar"]
    assert kinds["context"]["columns"] == ["kind"]
    listed = ok(ask(tables, "GET", "/v1/models")).json()["models"]
    assert stars in listed
    missing = ask(tables, "GET", "/v1/models/cats")
    assert missing.status_code == 404
    assert "served are: stars, kinds" in missing.json()["error"]["message"]
