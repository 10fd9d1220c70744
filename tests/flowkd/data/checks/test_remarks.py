"""Properties of what a table's manifest remarks: constant, correlated and discrete columns."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowkd.data.checks.remarks import MAX_REMARKS, remarks_on
from flowkd.data.importers.prepare import prepare
from flowkd.data.importers.table import TableConfig
from flowkd.data.reading import load_split
from flowkd.errors import DataError

RNG = np.random.default_rng(0)
ROWS = 200
A, B = RNG.normal(size=(2, ROWS))
COLUMNS = {"a": A, "fixed": np.full(ROWS, 3.0), "b": B, "still": np.zeros(ROWS)}


@pytest.fixture
def prepared(memory_store, tmp_path):
    def of(columns, **options):
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table(columns), path)
        enough = {"val_fraction": 0.15, "test_fraction": 0.15}  # for no remark on few rows
        config = TableConfig(source=str(path), name="mine", **enough, **options)
        return prepare(config, memory_store), memory_store

    return of


def test_nothing_peculiar_is_nothing_to_say(prepared):
    manifest, _ = prepared({"a": A, "b": B})
    assert manifest.remarks == []


def test_constant_columns_are_refused_and_a_way_out_is_told(prepared):
    with pytest.raises(DataError, match=r"constant .*: fixed, still; .*`constant: drop`"):
        prepared(COLUMNS)


def test_constant_columns_are_dropped_where_asked(prepared):
    manifest, store = prepared(COLUMNS, constant="drop")
    assert manifest.columns == ["a", "b"]
    assert len(manifest.mean) == len(manifest.scale) == 2
    assert manifest.remarks == ["Constant over the train split and dropped: `fixed`, `still`."]
    found = np.concatenate([load_split(store, manifest, s).x for s in ("train", "val", "test")])
    wanted = np.stack([A, B], axis=1).astype(np.float32)
    assert sorted(found.tolist()) == sorted(wanted.tolist())


def test_columns_that_vary_outside_train_alone_are_constant(prepared):
    manifest, store = prepared({"a": A, "row": np.arange(float(ROWS))})
    held_out = load_split(store, manifest, "test").x[:, 1].long().numpy()
    rare = np.zeros(ROWS)
    rare[held_out] = 1.0
    manifest, _ = prepared({"a": A, "rare": rare}, constant="drop")
    assert manifest.columns == ["a"]


def test_a_table_of_constants_has_nothing_left(prepared):
    with pytest.raises(DataError, match=r"constant .*: fixed, still; choose others by `columns`$"):
        prepared({name: COLUMNS[name] for name in ("fixed", "still")}, constant="drop")


def test_pairs_that_are_nearly_a_line_are_named_with_their_correlation(prepared):
    close = {"b": B, "c": 2 - A, "a": A, "d": B + 0.1 * RNG.normal(size=ROWS)}
    manifest, store = prepared(close)
    train = load_split(store, manifest, "train").x.numpy()
    r = np.corrcoef(train.T)
    first, second = manifest.remarks
    assert first.startswith("`c` and `a` are correlated by -1.0000: ")
    assert second.startswith(f"`b` and `d` are correlated by {r[0, 3]:.4f}: ")
    assert 0.98 < r[0, 3] < 0.9999


def test_columns_of_few_values_are_named(prepared):
    manifest, _ = prepared({"a": A, "dice": RNG.integers(1, 7, ROWS), "rounded": B.round(3)})
    [remark] = manifest.remarks
    assert remark.startswith("`dice` has 6 distinct values in 140 train rows: ")


def test_remarks_on_many_columns_are_few():
    names = [f"x{number}" for number in range(40)]
    values = A[:, None] + 1e-3 * RNG.normal(size=(ROWS, 40))
    dropped = [f"c{number}" for number in range(40)]
    first, *pairs, last = remarks_on(values, names, dropped)
    assert len(pairs) == MAX_REMARKS
    assert last == f"There are {40 * 39 // 2 - MAX_REMARKS} more pairs of correlated columns."
    assert first.endswith(f"`c{MAX_REMARKS - 1}` and {40 - MAX_REMARKS} more.")
    told = [abs(float(re.search(r"by (-?[\d.]+):", pair)[1])) for pair in pairs]
    assert told == sorted(told, reverse=True)


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (50, 1)])
def test_small_tables_have_no_correlations(shape):
    assert remarks_on(RNG.normal(size=shape), [f"x{n}" for n in range(shape[1])], []) == []
