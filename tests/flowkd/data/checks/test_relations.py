"""Properties of what is remarked of columns that determine each other, in any number."""

import re

import numpy as np
import pytest

from flowkd.data.checks.remarks import remarks_on

RNG = np.random.default_rng(0)
ROWS = 500
A, B, C, D = RNG.normal(size=(4, ROWS)) * np.array([[1.0], [1e6], [1e-3], [2.0]])


def said(**columns):
    return remarks_on(np.stack(list(columns.values()), axis=1), list(columns), [])


def test_columns_that_are_free_have_nothing_to_say():
    assert said(a=A, b=B, c=C, d=D) == []


@pytest.mark.parametrize(
    ("columns", "relation"),
    [
        ({"a": A, "d": D, "sum": A + D}, "1 `a` +1 `d`"),
        ({"a": A, "b": B, "c": C, "d": D, "s": 2 * A - D + 7}, "2 `a` -1 `d` +7"),
        ({"b": B, "c": C, "s": B + 1e9 * C}, "1 `b` +1e+09 `c`"),
    ],
)
def test_the_columns_of_a_linear_relation_are_named_with_their_factors(columns, relation):
    [remark] = said(**columns)
    name = list(columns)[-1]
    assert remark.startswith(f"`{name}` is determined by other columns, {relation}: ")
    assert f"`--set 'drop=[{name}]'`" in remark


def test_a_composition_names_all_of_its_parts():
    parts = RNG.dirichlet([1, 2, 3, 4, 5], size=ROWS).T
    columns = dict(zip("vwxyz", parts, strict=True))
    [remark] = said(a=A, **columns)
    assert remark.startswith("`z` is determined by other columns, -1 `v` -1 `w` -1 `x` -1 `y` +1: ")
    # As it is printed: the parts of a table of three decimals sum to one, or nearly.
    remarks = said(a=A, **{name: part.round(3) for name, part in columns.items()})
    [rounded] = [remark for remark in remarks if "determined" in remark]
    assert set(re.findall("`([v-z])`", rounded)) == set("vwxyz")


def test_each_of_several_relations_is_told_and_free_columns_are_no_part_of_them():
    first, second = said(a=A, b=B, c=C, d=D, s=A + D, t=A - D)
    assert first.startswith("`s` is determined by other columns, 1 `a` +1 `d`: ")
    assert second.startswith("`t` is determined by other columns, 1 `a` -1 `d`: ")


def test_what_is_left_when_a_determined_column_is_dropped_has_a_density():
    columns = {"a": A, "d": D, "s": A + D, "b": B}
    assert len(said(**columns)) == 1
    del columns["s"]
    assert said(**columns) == []


def test_a_relation_with_noise_of_its_own_is_none():
    assert said(a=A, d=D, s=A + D + 0.2 * RNG.normal(size=ROWS)) == []


def test_as_many_columns_as_rows_determine_nothing():
    rows = RNG.normal(size=(20, 30))
    assert remarks_on(rows, [f"x{n}" for n in range(30)], []) == []
