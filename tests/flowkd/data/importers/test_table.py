"""Properties of `table`: the same rows from every format, and each faulty cell named."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from flowkd.data.importers.prepare import prepare
from flowkd.data.importers.table import TableConfig
from flowkd.data.reading import load_split
from flowkd.errors import DataError
from flowkd.store.store import Store

SPLITS = ("train", "val", "test")
VALUES = np.random.default_rng(0).normal(3.0, 2.0, (40, 3)).astype(np.float32)


@pytest.fixture
def store():
    memory = Store("memory://flowkd-test-table")
    yield memory
    memory.remove()


def save(path, values):
    """Writes columns x0, x1, ... in the format of the path's suffix; returns the path."""
    table = pa.table({f"x{number}": column for number, column in enumerate(np.asarray(values).T)})
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def table(store, path, **options):
    manifest = prepare(TableConfig(source=str(path), name="mine", **options), store)
    return manifest, {split: load_split(store, manifest, split) for split in SPLITS}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_every_row_is_in_one_split_whatever_the_format(store, tmp_path, suffix):
    path = save(tmp_path / f"t{suffix}", VALUES)
    manifest, splits = table(store, path, val_fraction=0.2, test_fraction=0.3)
    assert manifest.columns == ["x0", "x1", "x2"]
    assert [len(splits[split]) for split in SPLITS] == [20, 8, 12]
    found = np.concatenate([splits[split].x.numpy() for split in SPLITS])
    assert sorted(found.tolist()) == sorted(VALUES.tolist())
    train = splits["train"].x.numpy().astype(np.float64)
    np.testing.assert_allclose(manifest.mean, train.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(manifest.scale, train.std(axis=0), rtol=1e-12)
    assert not np.allclose(manifest.mean, VALUES.mean(axis=0), rtol=1e-6)


def test_columns_are_chosen_by_name_and_stay_beside_their_context(store, tmp_path):
    path = save(tmp_path / "t.csv", np.concatenate([VALUES, VALUES * 2], axis=1))
    manifest, splits = table(store, path, columns=["x2", "x0"], context_columns=["x5", "x3"])
    assert (manifest.columns, manifest.context_size) == (["x2", "x0"], 2)
    for part in splits.values():
        np.testing.assert_allclose(part.context, part.x * 2, rtol=1e-6)
    manifest, _ = table(store, path, context_columns=["x1"])
    assert manifest.columns == ["x0", "x2", "x3", "x4", "x5"]


def test_the_seed_chooses_the_split(store, tmp_path):
    path = save(tmp_path / "t.npy", VALUES)
    first, again, other = (table(store, path, seed=seed)[1]["test"].x for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


def test_whole_numbers_are_read_as_numbers(store, tmp_path):
    path = save(tmp_path / "t.parquet", np.arange(60).reshape(20, 3))
    _, splits = table(store, path)
    assert splits["train"].x.sum() + splits["val"].x.sum() + splits["test"].x.sum() == 59 * 30


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize(
    ("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e39, "1e\\+39")]
)
def test_a_value_that_is_not_finite_is_named(store, tmp_path, suffix, value, shown):
    values = VALUES.astype(np.float64)
    values[16, 1] = values[30, 1] = value
    path = save(tmp_path / f"t{suffix}", values)
    if suffix == ".csv" and np.isnan(value):
        shown = r"no value \('nan'\)"
    with pytest.raises(DataError, match=rf"row 17 .*'x1': expected .* got {shown}; 2 such rows"):
        table(store, path)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ROWS = "".join(f"{i},{i * i},t{i}\n" for i in range(20))


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("t.csv", f"a,b,c\n{ROWS}", {}, r"not numeric: c \(text, such as 't0'\)"),
        ("t.csv", f"a,b,c\n{ROWS}", {"columns": ["a", "d"]}, "no column d; expected .*: a, b, c"),
        ("t.csv", f"a,b,c\n{ROWS}", {"columns": ["a", "a"]}, "got more than one 'a'"),
        ("t.csv", f"a,a,c\n{ROWS}", {"columns": ["a"]}, "got more than one 'a'"),
        ("t.csv", "a\n1\n2\n", {"context_columns": ["a"]}, r"no columns for x besides \['a'\]"),
        ("t.csv", "a,b\n1,\n" + "2,3\n4,5\n" * 9, {}, "row 1 .*'b': .* got no value; 1 such"),
        ("t.csv", "a,b\n1,2\n3\n", {}, "cannot be read as csv"),
        ("t.csv", "", {}, "cannot be read as csv"),
        ("t.csv", "1.5,2\n3,4\n5,6\n", {}, "expected a header .* got numbers: 1.5, 2"),
        ("t.csv", "a,b\n1,2\n3,4\n", {}, "expected enough rows .* got 2"),
        ("t.csv", "a,b\n" + "1,7\n2,7\n" * 20, {}, "constant over the train split.*: b;"),
        ("t.csv", "a\n" + "1700000000\n1700000300\n" * 9, {}, "'a': a spread .* lost in float32"),
        ("t.parquet", b"PAR1", {}, "cannot be read as parquet"),
        ("t.npy", b"\x93NUMPY", {}, "cannot be read as npy"),
        ("t.npy", b"hello", {}, "cannot be read as npy"),
        ("t.xlsx", b"", {}, r"ends in \.csv, .*\.parquet.*; got '.*t\.xlsx'"),
    ],
)
def test_faulty_tables_are_refused(store, tmp_path, name, content, options, message):
    with pytest.raises(DataError, match=message):
        table(store, write(tmp_path / name, content), **options)
    assert store.list("datasets") == []


def test_a_missing_file_is_named(store, tmp_path):
    with pytest.raises(DataError, match=r"no file '.*none\.csv'"):
        table(store, tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1, "a"]], dtype=object), "cannot be read as npy: Object arrays"),
        (np.zeros(5), r"expected a 2-D array .* got float64 of shape \(5,\)"),
        (np.zeros((5, 2), complex), "got complex128"),
        (np.zeros((5, 2), bool), "got bool"),
    ],
)
def test_faulty_arrays_are_refused(store, tmp_path, array, message):
    np.save(tmp_path / "t.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        table(store, tmp_path / "t.npy")


def notes(manifest):
    return {(note.what, note.why): (note.count, note.names) for note in manifest.left_out}


def test_what_is_left_out_is_told_with_its_reason(store, tmp_path):
    values = np.concatenate([VALUES, np.full((40, 1), 7.0)], axis=1).astype(np.float64)
    values[5, 0] = np.nan
    frame = pd.DataFrame(values, columns=list("abcd")).sort_values("b")
    frame.to_parquet(tmp_path / "t.parquet")
    manifest, splits = table(
        store,
        tmp_path / "t.parquet",
        columns=["a", "b", "d"],
        incomplete="drop",
        constant="drop",
    )
    assert sum(len(part.x) for part in splits.values()) == 39
    assert notes(manifest) == {
        ("columns", "not chosen"): (1, ["c"]),
        ("columns", "index of a pandas DataFrame, by the file's metadata"): (
            1,
            ["__index_level_0__"],
        ),
        ("columns", "constant over the train split"): (1, ["d"]),
        ("rows", "a missing value in a"): (1, []),
    }
    told = " ".join(manifest.remarks)
    assert "Left out `__index_level_0__`: index of a pandas DataFrame" in told
    assert "Left out 1 of 40 rows, in which a value is missing: `a`." in told


def test_nothing_is_left_out_of_a_table_that_is_taken_whole(store, tmp_path):
    manifest, _ = table(store, save(tmp_path / "t.parquet", VALUES))
    assert manifest.left_out == []
    assert not [remark for remark in manifest.remarks if "Left out" in remark]


def test_a_column_that_counts_the_rows_is_remarked(store, tmp_path):
    values = np.concatenate([np.arange(1, 41)[:, None], VALUES], axis=1)
    manifest, _ = table(store, save(tmp_path / "t.npy", values))
    assert [remark for remark in manifest.remarks if "`x0` grows by 1 in each row" in remark]


def test_options_of_reading_are_keys_of_the_config(store, tmp_path):
    text = "1|2,5|-\n" + "".join(f"{i}|{i * i},25|{i % 7},5\n" for i in range(30))
    path = write(tmp_path / "t.csv", text)
    manifest, splits = table(
        store,
        path,
        delimiter="|",
        decimal=",",
        header=False,
        missing_texts=["-"],
        incomplete="drop",
    )
    assert manifest.columns == ["x0", "x1", "x2"]
    found = np.concatenate([part.x.numpy() for part in splits.values()])
    assert sorted(found.tolist()) == [[i, i * i + 0.25, i % 7 + 0.5] for i in range(30)]
    np.savez(tmp_path / "t.npz", x=VALUES, y=VALUES[:, 0])
    assert table(store, tmp_path / "t.npz", key="y")[0].columns == ["y"]


def test_the_elements_of_a_vector_can_be_x_and_context(store, tmp_path):
    pq.write_table(pa.table({"e": VALUES.tolist(), "t": VALUES[:, 0] * 2}), tmp_path / "t.parquet")
    manifest, splits = table(store, tmp_path / "t.parquet", context_columns=["t"])
    assert manifest.columns == ["e_0", "e_1", "e_2"]
    np.testing.assert_array_equal(splits["val"].context[:, 0], splits["val"].x[:, 0] * 2)
    manifest, _ = table(store, tmp_path / "t.parquet", columns=["t"], context_columns=["e"])
    assert (manifest.columns, manifest.context_size) == (["t"], 3)
