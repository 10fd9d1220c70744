"""Rows and columns by name come out in the model's order, or the wrong name is told."""

import numpy as np
import pytest

from flowkd.predict.columns import read_label, read_named, stack_columns
from flowkd.predict.requests import InvalidRequestError

NAMES = ["ra", "dec", "z"]
ROWS = [{"dec": 2.0, "z": 3.0, "ra": 1.0}, {"ra": 4, "dec": 5, "z": 6}]


@pytest.mark.parametrize(
    "value",
    [ROWS, {"z": [3.0, 6], "ra": [1.0, 4], "dec": [2.0, 5]}],
    ids=["rows", "columns"],
)
def test_any_order_gives_the_models(value):
    assert read_named(value, NAMES, "x").tolist() == [[1, 2, 3], [4, 5, 6]]


def test_one_row_stands_for_all():
    assert read_named(ROWS[0], NAMES, "context").tolist() == [1, 2, 3]


def test_one_column_is_one():
    assert read_named([{"a": 1}, {"a": 2}], ["a"], "x").tolist() == [[1], [2]]
    assert read_label([{"kind": "star"}, {"kind": "galaxy"}], "kind", "context") == [
        "star",
        "galaxy",
    ]
    assert read_label({"kind": 3}, "kind", "context") == 3


FAULTS = {
    "a missing name": (
        [ROWS[0], {"ra": 1, "dec": 2}],
        r"x\[1\]: expected the columns 'ra', 'dec', 'z', in any order; got it without 'z'",
    ),
    "a wrong name": (
        [{"ra": 1, "dec": 2, "redshift": 3}],
        r"x\[0\]: .* without 'z'; with the unknown 'redshift'",
    ),
    "an extra name": ([{**ROWS[0], "id": 7}], r"x\[0\]: .* with the unknown 'id'"),
    "a row without names": ([ROWS[0], [1, 2, 3]], r"x\[1\]: expected a row by name.* got list"),
    "a text": ([ROWS[0], {**ROWS[1], "dec": "5"}], r"x\[1\]\['dec'\]: expected .* got '5'"),
    "a boolean": ([{**ROWS[0], "z": True}, ROWS[1]], r"x\[0\]\['z'\]: expected .* got true"),
    "null": ([{**ROWS[0], "z": None}], r"x\[0\]\['z'\]: expected .* got null"),
    "a list for a number": ([{**ROWS[0], "z": [1]}], "x: expected"),
    "lists for all numbers": ([{name: [1] for name in NAMES}], "expected one number of each name"),
    "beyond float32": (
        [ROWS[0], {**ROWS[1], "ra": 1e300}],
        r"x\[1\]\['ra'\]: expected a finite float32; got 1e\+300",
    ),
    "columns of different lengths": (
        {"ra": [1], "dec": [1, 2], "z": [1]},
        "equal length of each column; got ra: 1, dec: 2, z: 1",
    ),
    "a column that is a number": ({"ra": [1], "dec": 2, "z": [1]}, "dec: no list"),
    "a column that is missing": ({"ra": [1], "dec": [2]}, "x: .* without 'z'"),
    "a text in a column": (
        {"ra": [1, 2], "dec": [1, "b"], "z": [1, 2]},
        r"x\['dec'\]\[1\]: expected .* got 'b'",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_named(case):
    value, message = FAULTS[case]
    with pytest.raises(InvalidRequestError, match=message):
        read_named(value, NAMES, "x")


def test_many_names_are_told_in_part():
    names = [f"column{number}" for number in range(1000)]
    with pytest.raises(InvalidRequestError, match=r"\(1000 in all\)") as error:
        read_named([{}], names, "x")
    assert len(str(error.value)) < 1500


def test_a_table_stacks_in_the_models_order():
    columns = {"dec": np.array([2, 4]), "ra": np.array([1.5, 3.0])}
    assert stack_columns(columns, ["ra", "dec"], "x").tolist() == [[1.5, 2], [3, 4]]
    columns["dec"] = np.array([2, np.nan])
    with pytest.raises(
        InvalidRequestError, match=r"x, row 2 \(from 1, .* column 'dec': .* got nan"
    ):
        stack_columns(columns, ["ra", "dec"], "x")
