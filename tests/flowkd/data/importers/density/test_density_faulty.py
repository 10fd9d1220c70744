"""Sources of POWER, GAS, HEPMASS, MINIBOONE and BSDS300 that are not what they should be."""

import io
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

import tests.support.density_files as small
import tests.support.density_oracles as oracles
from flowkd.data.importers.density.archive import MAX_FILE_BYTES, spooled
from flowkd.data.importers.sources import Member
from flowkd.errors import DataError
from tests.flowkd.data.importers.density.test_density import every_kind, imported
from tests.support.old_pickles import pickled

MAIN = {
    "power": "data/power/data.npy",
    "gas": "data/gas/ethylene_CO.pickle",
    "hepmass": "data/hepmass/1000_train.csv",
    "miniboone": "data/miniboone/data.npy",
    "bsds300": "data/BSDS300/BSDS300.hdf5",
}


@pytest.fixture(scope="module")
def files():
    return small.files()


def refused(store, kind, source, message):
    with pytest.raises(DataError, match=message):
        imported(store, kind, source)
    assert store.list("datasets") == []


@every_kind
@pytest.mark.parametrize("pack", [small.archive, small.folder])
def test_a_missing_member_is_named_beside_what_is_there(memory_store, tmp_path, files, kind, pack):
    left = {name: data for name, data in files.items() if name != MAIN[kind]}
    source = pack(tmp_path / "data.tar.gz", left)
    missing = MAIN[kind].removeprefix("data/")
    refused(memory_store, kind, source, f"has no {missing}; expected .* it has: data/")


@every_kind
@pytest.mark.parametrize("pack", [small.archive, small.folder])
def test_a_member_that_is_cut_off_is_named(memory_store, tmp_path, files, kind, pack):
    name = MAIN[kind]
    cut = {**files, name: files[name][: len(files[name]) // 2 - 7]}
    source = pack(tmp_path / "data.tar.gz", cut)
    if kind == "hepmass":
        cut[name] += b",1e"
        source = pack(tmp_path / "data.tar.gz", cut)
    refused(memory_store, kind, source, f"{name} in .*data.tar.gz.* (cut off|damaged|csv)")


@every_kind
def test_an_archive_that_is_cut_off_is_named(memory_store, tmp_path, files, kind):
    source = small.archive(tmp_path / "data.tar.gz", {MAIN[kind]: files[MAIN[kind]]})
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    refused(memory_store, kind, source, r"data\.tar\.gz is cut off or damaged")


@every_kind
def test_nothing_there_is_said_so(memory_store, tmp_path, kind):
    refused(memory_store, kind, tmp_path / "none.tar.gz", "there is no")
    refused(memory_store, kind, tmp_path, "it has: nothing")


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("power", small.npy(small.miniboone()), "expected the 8 columns of power/data.npy .* 43"),
        ("miniboone", small.npy(small.power()), "expected 43 columns of MINIBOONE .* got 8"),
        ("miniboone", small.npy(small.miniboone(9)), "expected at least 10 rows .* got 9"),
        ("power", small.npy(np.full((50, 8), np.nan)), "expected finite values .*global_active"),
        ("miniboone", small.npy(np.ones((50, 43))), "columns x0, .*constant before"),
        ("gas", pickled({**small.gas(), "more": small.power(130)[:, 0]}), "8 columns of GAS .*9"),
        ("gas", pickled({"a": np.arange(20.0)}), "it has no Meth, Eth, Time, but: a"),
        ("bsds300", small.hdf5({"train": np.ones((5, 63))}), "an array 'validation' .*has: train"),
        ("bsds300", small.hdf5({"train": np.ones((5, 64))}), r"63 columns; .*shape \(5, 64\)"),
        ("bsds300", small.hdf5({"train": np.ones((5, 63), int)}), "real numbers .* got int64"),
        ("bsds300", b"hello", "cannot be read as hdf5"),
        ("power", b"hello", "cannot be read as npy"),
    ],
)
def test_another_table_is_told_by_what_was_found(memory_store, tmp_path, kind, data, message):
    (tmp_path / "file").write_bytes(data)
    refused(memory_store, kind, tmp_path / "file", message)


def test_hepmass_has_two_files(memory_store, tmp_path, files):
    source = small.folder(tmp_path, files) / MAIN["hepmass"]
    refused(memory_store, "hepmass", source, "no hepmass/1000_test.csv; .* or hepmass in there")


@pytest.mark.parametrize("dangling", ["", ",", ",1000.0", None])
def test_the_dangling_column_of_the_test_file_is_dropped(memory_store, tmp_path, files, dangling):
    test = small.csv(small.hepmass(200, seed=5), dangling)
    source = small.folder(tmp_path, {**files, "data/hepmass/1000_test.csv": test})
    _, found = imported(memory_store, "hepmass", source)
    tables = files[MAIN["hepmass"]], files["data/hepmass/1000_test.csv"]
    _, wanted = oracles.hepmass(*map(io.BytesIO, tables))
    np.testing.assert_array_equal(found[2], wanted[2].astype(np.float32))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (b"# label,a\n1,2\n", "columns of .*: f0, f1, .*; got a"),
        (b"# label\n1\n", "expected a class and features"),
        (b"", "expected a line of names"),
        (b"x" * 10**6, "expected a line of names"),
        (small.csv(np.zeros((20, 28))), "expected rows of class 1 in .*1000_test.csv"),
        (small.csv(np.ones((3, 28))) + b"1,2,3\n", "1000_test.csv in .* cannot be read as csv"),
        (small.csv(np.ones((3, 28))) + b"\xff" * 50, "1000_test.csv in .* cannot be read as csv"),
    ],
)
def test_faulty_tables_of_text(memory_store, tmp_path, files, test, message):
    source = small.folder(tmp_path, {**files, "data/hepmass/1000_test.csv": test})
    refused(memory_store, "hepmass", source, message)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_gas_may_be_converted_by_pandas(memory_store, tmp_path, suffix):
    frame = pd.DataFrame(small.gas())
    path = tmp_path / f"gas.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    _, found = imported(memory_store, "gas", path)
    _, wanted = oracles.gas(small.gas())
    np.testing.assert_array_equal(found[2], wanted[2].astype(np.float32))


def test_a_header_that_claims_terabytes_allocates_nothing(memory_store, tmp_path):
    data = small.npy(small.miniboone())
    claim = data.replace(b"(120, 43), }" + b" " * 11, b"(99999999999, 43), }" + b" " * 3)
    assert len(claim) == len(data) != data.count(claim)
    (tmp_path / "data.npy").write_bytes(claim)
    refused(memory_store, "miniboone", tmp_path / "data.npy", "promises .*99999999999.*it has 41,2")


def test_hdf5_may_not_name_other_files(memory_store, tmp_path):
    groups = small.bsds300()
    (tmp_path / "secret.h5").write_bytes(small.hdf5(groups))
    for kind in ("link", "external", "virtual"):
        path = tmp_path / f"{kind}.hdf5"
        with h5py.File(path, "w") as file:
            if kind == "link":
                file["train"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "train")
            elif kind == "external":
                place = [(str(tmp_path / "secret.h5"), 0, h5py.h5f.UNLIMITED)]
                file.create_dataset("train", (2, 63), "f4", external=place)
            else:
                layout = h5py.VirtualLayout((60, 63), "f4")
                layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "train", (60, 63))
                file.create_virtual_dataset("train", layout)
        refused(memory_store, "bsds300", path, "expected an array 'train'|lies in another file")


def test_hdf5_may_not_claim_terabytes(memory_store, tmp_path):
    with h5py.File(tmp_path / "big.hdf5", "w") as file:
        file.create_dataset("train", (10**10, 63), "f4", chunks=(1000, 63))
    refused(memory_store, "bsds300", tmp_path / "big.hdf5", "claims 2,520,000,000,000 bytes")


def test_without_h5py_its_command_is_told(memory_store, tmp_path, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    source = small.folder(tmp_path, files)
    refused(memory_store, "bsds300", source, r"pip install 'flowkd\[data\]'")


def test_what_ends_before_its_size_is_cut_off():
    short = Member("a.csv", 10, "a.csv in b.tar", lambda: io.BytesIO(b"12345"))
    with (
        pytest.raises(
            DataError, match=r"b\.tar is cut off: expected 10 bytes; got 5; fetch b\.tar"
        ),
        spooled(short),
    ):
        pass


def test_what_is_too_large_is_not_copied():
    with (
        pytest.raises(DataError, match="refused: expected at most"),
        spooled(Member("a.csv", MAX_FILE_BYTES + 1, "a.csv", lambda: pytest.fail("opened"))),
    ):
        pass


def test_of_two_files_in_the_same_place_the_first_is_read(memory_store, tmp_path, files):
    twice = {"data/hepmass/1000_train.csv": files[MAIN["hepmass"]]}
    twice["hepmass/1000_train.csv"] = b"another"
    twice["data/hepmass/1000_test.csv"] = files["data/hepmass/1000_test.csv"]
    imported(memory_store, "hepmass", small.archive(tmp_path / "data.tar.gz", twice))
