"""Properties of a table's columns as they are stored: each remedy makes what it promises."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from flowkd.config import apply_overrides, parse_config
from flowkd.data.importers.prepare import PrepareConfig, prepare
from flowkd.data.importers.table import TableConfig
from flowkd.data.reading import load_split
from flowkd.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
ROWS = 2000
A, B, C = RNG.normal(size=(3, ROWS))
COUNTS = RNG.poisson(3.0, ROWS)
SPLITS = ("train", "val", "test")


@pytest.fixture
def imported(memory_store, tmp_path):
    """Imports columns and returns the manifest and all rows."""

    def of(columns, **options):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table(columns), path)
        manifest = prepare(TableConfig(source=str(path), name="t", **options), memory_store)
        splits = [load_split(memory_store, manifest, split).x for split in SPLITS]
        return manifest, torch.cat(splits).numpy()

    return of


def test_every_remedy_that_a_remark_names_mends_it(imported):
    """The very option, as it is written in the remark, leaves nothing to remark."""
    columns = {
        "a": A,
        "counts": COUNTS,
        "pressure": np.where(C > 1.9, -999.0, 1000 + 10 * C),
        "wide": np.exp(4 * RNG.normal(size=ROWS)),
        "part": 1 / (1 + np.exp(5 * RNG.normal(size=ROWS).clip(-3, 3))),
        "time": 1.7e12 + 60_000.0 * RNG.permutation(ROWS),
        "sum": 2 * A + B,
        "b": B,
    }
    manifest, _ = imported(columns)
    assert len(manifest.remarks) == 6
    config = {"strict": True}
    for remark in manifest.remarks:
        option = next(part for part in remark.split("`") if part.startswith("--set"))
        setting = option.removeprefix("--set ").strip("'")
        if setting.startswith("drop="):  # a list: each remedy says it whole
            dropped = [*config.get("drop", []), setting.removeprefix("drop=[").rstrip("]")]
            setting = f"drop=[{', '.join(dropped)}]"
        apply_overrides(config, [setting])
    again, _ = imported(columns, **config)
    assert again.remarks == []
    assert again.columns == ["a", "counts", "pressure", "wide", "part", "sum"]


def test_a_strict_import_refuses_what_it_remarks_and_leaves_nothing(imported, memory_store):
    with pytest.raises(DataError, match=r"(?s)`strict` refuses .*\n- `n` has 1\d distinct values"):
        imported({"a": A, "n": COUNTS}, strict=True)
    assert memory_store.list("datasets") == []
    assert imported({"a": A, "b": B}, strict=True)[0].remarks == []


def test_rows_without_values_are_left_out_and_counted(imported):
    marked = np.where(np.arange(ROWS) % 40 == 0, -999.0, B)
    manifest, rows = imported({"a": A, "b": marked}, missing={"b": -999})
    assert len(rows) == ROWS - 50
    assert -999 not in rows
    [left_out] = manifest.left_out
    assert (left_out.what, left_out.count) == ("rows", 50)
    assert "whose b is -999" in left_out.why


def test_statistics_are_those_of_what_comes_out_of_noise_and_transform(imported):
    manifest, _ = imported(
        {"a": A, "n": COUNTS, "wide": np.exp(4 * B)},
        dequantize={"n": 1},
        transforms={"wide": "log"},
    )
    assert [None if step is None else step.width for step in manifest.steps] == [None, 1, None]
    assert [each and each.kind for each in manifest.transforms] == [None, None, "log"]
    assert manifest.mean == pytest.approx([A.mean(), COUNTS.mean() + 0.5, 4 * B.mean()], abs=0.1)
    expected = [A.std(), np.sqrt(COUNTS.var() + 1 / 12), 4 * B.std()]
    assert manifest.scale == pytest.approx(expected, rel=0.03)


def test_stored_rows_are_those_of_the_source_whatever_the_flow_does_with_them(imported):
    columns = {"n": COUNTS, "wide": np.exp(4 * B)}
    _, rows = imported(columns, dequantize={"n": 1}, transforms={"wide": "log"})
    wanted = np.stack(list(columns.values()), axis=1).astype(np.float32)
    assert sorted(rows.tolist()) == sorted(wanted.tolist())


def test_long_tails_are_told_with_what_draws_them_in(imported):
    generator = np.random.default_rng(0)
    tails = 5 + 2 * generator.standard_t(2, ROWS)
    columns = {
        "a": A,
        "tails": tails,
        "skewed": np.exp(1.2 * B),
        "b": generator.exponential(size=ROWS),
    }
    manifest, _ = imported(columns)
    [of_tails, of_skewed] = manifest.remarks
    assert "`tails` has long tails" in of_tails
    assert "by `--set transforms.skewed=log`" in of_skewed
    text = re.search(r"by `--set 'transforms\.tails=(.*)'`", of_tails)
    option = yaml.safe_load(text[1])
    assert option["center"] == pytest.approx(5, abs=0.2)
    assert option["scale"] == pytest.approx(2 * 0.8165, abs=0.2)
    cured, _ = imported(columns, transforms={"tails": option, "skewed": "log"})
    assert cured.remarks == []
    assert cured.scale[1] < 2


def test_steps_begin_where_the_column_does(imported):
    manifest, _ = imported({"a": A, "n": COUNTS * 0.2 + 0.05}, dequantize={"n": 0.2})
    assert manifest.steps[1].origin == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"x": 1e38 * B},
            {},
            r"row 1 \(.*'x': expected at most 1e\+18, .*got 1e\+38|rescale the column",
        ),
        ({"x": 1e-38 * B}, {}, r"'x': a spread of .*e-3[89] is too small, .* rescale the column"),
        ({"x": 10**9 + np.arange(ROWS) % 900}, {}, r"'x': a spread of 2\d\d.* lost in float32"),
        (
            {"x": 1e9 + np.arange(ROWS) / 1e4},
            {},
            r"lost in float32; of 1,600 .* leaves 1; subtract",
        ),
        ({"x": B}, {"transforms": {"x": "log"}}, r"'x': expected a value above 0 .*log; got -"),
        (
            {"x": np.abs(B)},
            {"transforms": {"x": {"kind": "logit", "high": 2}}},
            r"above 0 and below 2 for transforms\.x, logit; got [23]",
        ),
        ({"x": COUNTS}, {"transforms": {"x": "log"}}, r"'x': expected a value above 0 .*got 0"),
        (
            {"x": COUNTS},
            {"dequantize": {"x": 1}, "transforms": {"x": {"kind": "logit", "high": 5}}},
            r"below 5 for transforms\.x, logit, with noise of 1 on it; got 5",
        ),
        ({"x": COUNTS}, {"dequantize": {"x": 2}}, r"dequantize\.x: expected .*steps of 2 apart"),
        ({"x": B}, {"dequantize": {"x": 0.1}}, r"dequantize\.x: expected .*steps of 0\.1 apart"),
        (
            {"x": 3e7 + COUNTS},
            {"dequantize": {"x": 1}},
            r"dequantize\.x: expected steps of at least 128, .* got 1: subtract",
        ),
        ({"x": B}, {"missing": {"x": -999}}, r"missing\.x: .* column 'x' .* has; got -999"),
        ({"x": B}, {"missing": {"y": -999}}, r"missing: expected columns of x .* a, x; got 'y'"),
        ({"x": B}, {"units": {"y": "m"}}, r"units: expected columns of x .* a, x; got 'y'"),
        ({"x": B}, {"drop": ["y"]}, "has no column y"),
        ({"x": B}, {"drop": ["a", "x"]}, "has no columns for x"),
    ],
)
def test_what_cannot_be_is_refused_by_name(imported, columns, options, message):
    with pytest.raises(DataError, match=message):
        imported({"a": A, **columns}, **options)


def test_rows_are_named_by_their_place_in_the_source_also_after_others_left(imported):
    x = np.abs(B) + 0.1
    x[:10], x[20] = -999.0, -1.0
    with pytest.raises(DataError, match=r"row 21 \(.*'x': expected a value above 0 .*; got -1;"):
        imported({"a": A, "x": x}, missing={"x": -999}, transforms={"x": "log"})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"dequantize": {"x": 0}}, "greater than 0"),
        ({"transforms": {"x": "sqrt"}}, "log"),
        ({"transforms": {"x": {"kind": "logit", "low": 1}}}, "low below high"),
    ],
)
def test_options_that_mean_nothing_are_refused(option, message):
    values = {"kind": "table", "source": "t.csv", "name": "t", **option}
    with pytest.raises(ConfigError, match=message):
        parse_config(PrepareConfig, values, source="a test")
