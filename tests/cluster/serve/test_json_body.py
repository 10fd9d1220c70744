"""JSON bodies say each key once, and numbers come out as they are, whichever way they are read."""

import numpy as np
import orjson
import pytest

from cluster.serve.errors import ApiError
from cluster.serve.json_body import parse_json
from flowkd.predict.requests import InvalidRequestError, read_numbers

TWICE = {
    "at the top": b'{"n": 1, "n": 2}',
    "in a row": b'{"x": [{"a": 1, "b": 2}, {"a": 1, "a": 2}]}',
    "in columns": b'{"x": {"a": [1], "a": [2]}}',
    "in the context": b'{"x": [[1]], "context": {"a": 1, "a": 2}}',
    "escaped": b'{"a": 1, "\\u0061": 2}',
    "of many": b'{"x": [[1, 2], [3, 4]], "seed": 1, "x": [[1, 2], [3, 4]]}',
}


@pytest.mark.parametrize("case", TWICE)
def test_a_key_that_is_there_twice_is_named(case):
    with pytest.raises(ApiError, match=r"each key once; got '[anx]' more than once") as error:
        parse_json(TWICE[case])
    assert error.value.status == 400


@pytest.mark.parametrize(
    "value",
    [
        {"n": 3, "context": 'a "quoted" label'},
        {"x": [{"a": 1, "b": 2}], "context": [{"e": 1}, {"e": 2}]},
        {"x": {"a": [1, 2]}, "context": {"e": "text"}},
        {"x": [], "seed": None},
        {"x": [1.5, {}], "seed": 1},
        {"x": [[1, 2], [3]]},
        {"": 1, "deep": {"er": {"er": ["a", "b"]}}},
        [1, "a"],
        "a",
    ],
)
def test_other_bodies_are_read_as_they_are(value):
    got = parse_json(orjson.dumps(value))
    assert got == value


@pytest.mark.parametrize(
    "x",
    [
        [[1.5, 2], [3, 4]],
        [[1, 2], [3, 4.5]],
        [[1, 2], [3, 4]],
        [[[0.0, 1.0]], [[1e300, -1e-300]]],
        [2**63, 1],
        [[1.5, 2**63]],
    ],
)
@pytest.mark.parametrize("label", ["", "full"])  # the letters of true and null, or not
def test_numbers_are_read_alike_with_and_without_texts_beside_them(x, label):
    got = read_numbers(parse_json(orjson.dumps({"x": x, "context": label}))["x"], "x")
    expected = np.asarray(x)
    assert got.dtype == expected.dtype if expected.dtype != object else float
    assert np.array_equal(got, expected)


@pytest.mark.parametrize(
    "x", [b"[[true, 1.5]]", b"[[1.5, null]]", b'[[1.5, "2"]]', b"[[1, false]]"]
)
def test_what_is_no_number_is_refused(x):
    with pytest.raises(InvalidRequestError, match=r"x\[0, [01]\]: expected integers or floats"):
        read_numbers(parse_json(b'{"x": ' + x + b"}")["x"], "x")


@pytest.mark.parametrize("depth", [500, 1000, 100_000])
def test_deep_bodies_are_refused_or_read(depth):
    body = b'{"a": "\\"", "b": ' + b"[" * depth + b"]" * depth + b"}"
    if depth == 500:
        assert list(parse_json(body)) == ["a", "b"]
    else:
        with pytest.raises(ApiError, match="expected JSON") as error:
            parse_json(body)
        assert error.value.status == 400
