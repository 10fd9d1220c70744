"""Properties of what is remarked of values that repeat, and of the steps between them."""

import shlex

import numpy as np
import pytest
import yaml

from flowkd.config import apply_overrides
from flowkd.data.checks.options import ColumnOptions, Remedies, drop_option, set_option
from flowkd.data.checks.remarks import remarks_on
from flowkd.data.checks.repeats import grid_step

RNG = np.random.default_rng(0)
ROWS = 2000
A, B = RNG.normal(size=(2, ROWS))


def said(column, **options):
    """What is remarked of a column beside one that has a density."""
    rows = np.stack([A, column], axis=1)
    return remarks_on(rows, ["a", "x"], [], remedies=Remedies(ColumnOptions(**options)))


@pytest.mark.parametrize(
    ("mark", "share", "shown"), [(0.0, 0.5, "0"), (-999.0, 0.02, "-999"), (-999.9, 0.004, "-999.9")]
)
def test_a_value_that_a_density_cannot_have_so_often_is_named_with_its_share(mark, share, shown):
    marked = np.where(np.arange(ROWS) < share * ROWS, mark, B)
    [remark] = said(marked)
    assert remark.startswith(f"`x` repeats single values, {shown} in {share:.1%} of 2,000 train ")
    assert f"`--set missing.x={shown}`" in remark
    assert "`--set 'drop=[x]'`" in remark
    assert said(marked[::-1])[0] == remark  # wherever the rows are


def test_values_that_repeat_by_rounding_alone_are_no_marks():
    assert said(B.round(3)) == []
    assert said(B.astype(np.float16).astype(float)) == []


def test_many_values_that_repeat_are_no_reason_to_leave_their_rows_out():
    [remark] = said(np.where(np.arange(ROWS) < 800, np.tile(B[:20], 100), B))
    assert remark.count(" in ") == 3
    assert "missing" not in remark
    assert "drop=[x]" in remark


@pytest.mark.parametrize("step", [1.0, 0.25, 0.1, 3.0, 1e-3, 1 / 256])
@pytest.mark.parametrize("origin", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_steps_of_a_column_are_found_and_the_remedy_says_them(step, origin, dtype):
    values = ((RNG.integers(0, 40, ROWS) * step + origin) * 1.0).astype(dtype).astype(float)
    found = grid_step(np.unique(values))
    assert found == pytest.approx(step, rel=1e-9)
    [remark] = said(values)
    assert remark.startswith("`x` has 40 distinct values in 2,000 train rows: ")
    [setting] = [part for part in remark.split("`") if "dequantize" in part]
    config = {}
    apply_overrides(config, [setting.removeprefix("--set ")])
    assert config == {"dequantize": {"x": pytest.approx(step)}}


@pytest.mark.parametrize(
    "values", [B[:50], np.sqrt(np.arange(50.0)), np.array([0, 1e-12, 5.0]), np.array([3.0])]
)
def test_values_without_steps_have_none(values):
    assert grid_step(np.unique(values)) is None


@pytest.mark.parametrize("name", ["x", "n [/cm3]", "a.b", "a, b", "yes", "1e3", "it's", 'a"b'])
def test_a_remedy_is_read_back_as_the_column_that_it_is_for(name):
    """What a shell and YAML make of it, whatever the column is called."""
    for option, expected in (
        (drop_option(ColumnOptions(drop=["b"]), name), {"drop": ["b", name]}),
        (set_option("dequantize", name, 0.5), {"dequantize": {name: 0.5}}),
        (set_option("transforms", name, "log"), {"transforms": {name: "log"}}),
    ):
        word, setting = shlex.split(option.strip("`"))
        assert word == "--set"
        config = {}
        apply_overrides(config, [setting])
        assert config == expected
        assert yaml.safe_load(yaml.safe_dump(config)) == expected
