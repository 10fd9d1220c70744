"""What formats have of their own: indices, vectors, keys, checksums, links, missing values."""

import builtins

import awkward
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import uproot
from astropy.io import fits

from flowkd.data.tables.columns import columns_of
from flowkd.data.tables.opening import open_table
from flowkd.data.tables.rows import read_rows
from flowkd.errors import DataError
from tests.support.tables import ARROW, FRAME, NAMELESS, RECORDS, VALUES, WRITERS, read

SHUFFLED = np.random.default_rng(2).permutation(40)


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize(
    ("frame", "index"),
    [
        (FRAME[FRAME.a > -99].iloc[SHUFFLED], ["__index_level_0__"]),
        (FRAME.set_index(pd.Index(SHUFFLED, name="row_id")), ["row_id"]),
        (FRAME.set_index([pd.Index(SHUFFLED, name=name) for name in "rs"]), ["r", "s"]),
        (FRAME, []),
    ],
)
def test_an_index_of_pandas_is_no_variable(tmp_path, suffix, frame, index):
    path = tmp_path / f"t.{suffix}"
    table = pa.Table.from_pandas(frame)
    (pq.write_table if suffix == "parquet" else pyarrow.feather.write_feather)(table, str(path))
    with open_table(str(path)) as opened:
        assert [opened.fields[number].name for number in opened.index] == index
    assert read(path)[0] == ["a", "b", "c"]
    assert read(path, [*index, "a"])[0] == [*index, "a"]  # where the user asks for it


VECTORS = {
    "fixed": pa.FixedSizeListArray.from_arrays(pa.array(VALUES.reshape(-1)), 3),
    "list": pa.array(VALUES.tolist()),
    "large": pa.array(VALUES.tolist(), pa.large_list(pa.float32())),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(VALUES),
}


@pytest.mark.parametrize("kind", VECTORS)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_vector_is_its_elements(tmp_path, suffix, kind):
    path = tmp_path / f"t.{suffix}"
    table = pa.table({"z": VALUES[:, 0], "e": VECTORS[kind]})
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        pa.feather.write_feather(table, str(path))
    names, values = read(path)
    assert names == ["z", "e_0", "e_1", "e_2"]
    np.testing.assert_array_equal(values[:, 1:], VALUES)
    names, values = read(path, ["e_2", "z"])
    np.testing.assert_array_equal(values, VALUES[:, [2, 0]])
    assert read(path, ["e"])[0] == ["e_0", "e_1", "e_2"]


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ([1.0, 2.0], "row 41 .*column 'e': expected a list of 3 values.*; got 2"),
        (None, "row 41 .*column 'e_0': .* got no value"),
        ([1.0, None, 2.0], "row 41 .*column 'e_1': .* got no value"),
    ],
)
def test_a_vector_of_another_length_is_named(tmp_path, last, message):
    pq.write_table(pa.table({"e": [*VALUES.tolist(), last]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "t.parquet")


def test_a_damaged_page_of_parquet_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(ARROW, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.find(VALUES[:, 0].tobytes()[:16]) + 6] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(DataError, match="CRC checksum verification failed"):
        read(path, ["a"])
    assert read(path, ["b"])[0] == ["b"]  # whose pages are whole: others are not read


def test_columns_that_are_not_chosen_are_not_decoded(tmp_path):
    """A text of 20 MB that compresses to nothing lies beside two numbers."""
    path = tmp_path / "t.parquet"
    table = pa.table({"a": VALUES[:, 0], "text": ["x" * 500_000] * 40})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(DataError, match=r"not numeric: text \(string\)"):
            read(path)
        read(path, ["a"])
    finally:
        pa.set_memory_pool(usual)
    assert 0 < pool.max_memory() < 2**20


def test_more_rows_than_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    WRITERS["t.parquet"](tmp_path / "t.parquet")
    with open_table(str(tmp_path / "t.parquet")) as table:
        table.rows = 10**12
        monkeypatch.setattr(table, "batches", None)
        with pytest.raises(DataError, match=r"promises 1,000,000,000,000 rows, .* GiB of memory"):
            read_rows(table, columns_of(table))


def test_fewer_rows_than_promised_are_told(tmp_path):
    WRITERS["t.parquet"](tmp_path / "t.parquet")
    with open_table(str(tmp_path / "t.parquet")) as table:
        table.rows = 50
        with pytest.raises(DataError, match="promises 50 rows; it has 40: it is damaged"):
            read_rows(table, columns_of(table))


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_whole_numbers_beyond_float64_are_refused(tmp_path, kind):
    path = tmp_path / "t.parquet"
    ids = np.arange(40, dtype=kind) + kind(2**53)
    pq.write_table(pa.table({"id": ids, "a": VALUES[:, 0]}), path)
    with pytest.raises(DataError, match=r"'id': whole numbers such as 9007199254740992 "):
        read(path)
    pq.write_table(pa.table({"id": ids - kind(41), "a": VALUES[:, 0]}), path)
    assert read(path)[1][:, 0].tolist() == (ids - kind(41)).tolist()


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


def test_a_dataset_of_hdf5_is_chosen_by_its_path(tmp_path):
    path = hdf5(tmp_path / "t.h5", deep__x=VALUES, deep__y=VALUES[:, 0], other=VALUES * 2)
    message = (
        r"it has deep/x \(40 rows\), deep \(2 columns\), other \(40 rows\); choose one by `key`"
    )
    with pytest.raises(DataError, match=message):
        read(path)
    np.testing.assert_array_equal(read(path, key="/deep/x")[1], VALUES)
    np.testing.assert_array_equal(read(path, key="other")[1], VALUES * 2)
    assert read(path, key="deep")[0] == ["x_0", "x_1", "x_2", "y"]
    with pytest.raises(DataError, match=r"has no 'deep/z'; /deep has: x, y"):
        read(path, key="deep/z")


def test_what_is_no_column_of_a_group_is_told(tmp_path):
    path = hdf5(tmp_path / "t.h5", g__a=VALUES[:, 0], g__b=VALUES[:, 1], g__version=3)
    with open_table(str(path)) as table:
        assert [(note.what, note.names) for note in table.left_out] == [("columns", ["version"])]
    path = hdf5(tmp_path / "u.h5", a=VALUES[:, 0], b=VALUES[:7, 1])
    with pytest.raises(DataError, match=r"arrays of equal length .* a \(40,\), b \(7,\)"):
        read(path)


def test_hdf5_that_leads_to_other_files_is_refused(tmp_path):
    hdf5(tmp_path / "secret.h5", x=VALUES)
    path = tmp_path / "t.h5"
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
        layout = h5py.VirtualLayout((40, 3), np.float32)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (40, 3))
        file.create_virtual_dataset("v", layout)
    for key in ("x", "v", None):
        with pytest.raises(DataError, match="another file"):
            read(path, key=key)


def test_hdf5_of_pandas_and_packed_values_are_told_what_they_are(tmp_path):
    with h5py.File(hdf5(tmp_path / "t.h5", df__table=RECORDS), "a") as file:
        file["df"].attrs["pandas_type"] = "frame_table"
    with pytest.raises(DataError, match=r"df in .* DataFrame in the layout of pandas' HDFStore"):
        read(tmp_path / "t.h5")
    with h5py.File(hdf5(tmp_path / "u.h5", x=VALUES), "a") as file:
        file["x"].attrs["scale_factor"] = 0.1
    with pytest.raises(DataError, match=r"x in .* holds packed values \(scale_factor\)"):
        read(tmp_path / "u.h5")


def test_arrays_of_npz_are_chosen_by_key(tmp_path):
    path = tmp_path / "t.npz"
    np.savez(path, X=VALUES, y=np.arange(40))
    with pytest.raises(DataError, match=r"X \(40, 3\), y \(40,\); choose one by `key`"):
        read(path)
    np.testing.assert_array_equal(read(path, key="X")[1], VALUES)
    assert read(path, key="y")[0] == ["y"]
    with pytest.raises(DataError, match=r"has no 'Z'; expected `key` to be one of: X, y"):
        read(path, key="Z")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([VALUES, VALUES], r"480 bytes more .*\(40, 3\): were several arrays saved into one file"),
        ([np.array([{}])], "Object arrays are pickles"),
        ([np.zeros((2, 2, 2))], r"expected a 2-D array .* shape \(2, 2, 2\)"),
        ([np.zeros((2, 2), complex)], "got complex128"),
    ],
)
def test_a_npy_that_is_no_table_is_refused(tmp_path, arrays, message):
    with (tmp_path / "t.npy").open("wb") as file:
        for array in arrays:
            np.save(file, array, allow_pickle=True)
    size = 480 + 128  # of a second array with its header
    with pytest.raises(DataError, match=message.replace("480", str(size))):
        read(tmp_path / "t.npy")


def test_extensions_of_fits_are_chosen_by_number_or_name(tmp_path):
    path = tmp_path / "t.fits"
    tables = [fits.BinTableHDU(RECORDS[:9], name="ONE"), fits.BinTableHDU(RECORDS, name="TWO")]
    fits.HDUList([fits.PrimaryHDU(VALUES), *tables]).writeto(path)
    with pytest.raises(DataError, match=r"it has 1 \(ONE\), 2 \(TWO\); choose one by `key`"):
        read(path)
    np.testing.assert_array_equal(read(path, key="2")[1], VALUES)
    np.testing.assert_array_equal(read(path, key="one")[1], VALUES[:9])
    with pytest.raises(DataError, match="has no '7'; expected `key` to be one of: ONE, TWO, 1, 2"):
        read(path, key="7")


def test_fits_is_read_in_its_units_with_its_missing_values(tmp_path):
    path = tmp_path / "t.fits"
    raw = np.arange(40, dtype=np.int16)
    columns = [
        fits.Column("v", "2E", array=VALUES[:, :2]),
        fits.Column("n", "J", array=np.where(raw == 7, -99, raw), null=-99),
        fits.Column("scaled", "I", array=raw),
        fits.Column("name", "5A", array=["q"] * 40),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(path)
    fits.setval(path, "TSCAL3", value=0.5, ext=1)
    fits.setval(path, "TZERO3", value=100.0, ext=1)
    names, values = read(path, ["v", "scaled"])
    assert names == ["v_0", "v_1", "scaled"]
    np.testing.assert_array_equal(values[:, 2], 100 + 0.5 * raw)
    with pytest.raises(DataError, match=r"row 8 .*column 'n': .* got no value"):
        read(path, ["n"])
    with pytest.raises(DataError, match=r"not numeric: name \(string\)"):
        read(path)


@pytest.mark.parametrize("kind", ["mktree", "mkrntuple"])
def test_trees_of_root_are_chosen_by_path_and_their_lists_are_no_numbers(tmp_path, kind):
    path = tmp_path / "t.root"
    lists = awkward.Array([[1.0] * (number % 3) for number in range(40)])
    with uproot.recreate(path) as file:
        getattr(file, kind)("events", {"pt-2": VALUES[:, 0], "v": VALUES[:, 1:], "hits": lists})
        getattr(file, kind)("other", {"a": VALUES[:, 0]})
    with pytest.raises(DataError, match="it has events, other; choose one by `key`"):
        read(path)
    names, values = read(path, ["pt-2", "v"], key="events")
    assert names == ["pt-2", "v_0", "v_1"]
    np.testing.assert_array_equal(values, VALUES)
    with pytest.raises(DataError, match=r"not numeric: hits \(of varying length, or an object\)"):
        read(path, ["hits"], key="events")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("matrix.h5", "h5py", "data"), ("t.fits", "astropy", "fits"), ("tree.root", "uproot", "root")],
)
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, name, package, extra):
    {**WRITERS, **NAMELESS}[name](tmp_path / name)
    real = builtins.__import__

    def without(module, *args, **kwargs):
        if module.split(".")[0] == package:
            raise ImportError(module)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=rf"read by {package}: pip install 'flowkd\[{extra}\]'"):
        read(tmp_path / name)


def test_a_row_that_counts_is_noted(tmp_path):
    pq.write_table(ARROW.append_column("id", pa.array(range(5, 45))), tmp_path / "t.parquet")
    with open_table(str(tmp_path / "t.parquet")) as table:
        assert read_rows(table, columns_of(table)).counting == ["id"]
