"""Properties of `read_npy`: numpy's own arrays back, and nothing that a false header asks for."""

import io
import tracemalloc

import numpy as np
import pytest
from numpy.lib import format as npy

from flowkd.data.importers.prepare import prepare
from flowkd.data.importers.table import TableConfig
from flowkd.data.npy import read_npy
from flowkd.errors import DataError

VALUES = np.random.default_rng(0).normal(size=(30, 4))


def saved(array, **options):
    file = io.BytesIO()
    npy.write_array(file, array, **options)
    return file.getvalue()


def claimed(shape, descr="<f8", held=64):
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(held)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", "u1", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_those_that_numpy_saved(version, dtype, order):
    array = np.array(10 * np.abs(VALUES), dtype=dtype, order=order)
    found = read_npy(saved(array, version=version), "t.npy")
    assert (found.dtype, found.flags.f_contiguous) == (array.dtype, order == "F")
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("shape", [(10**12, 10), (2**62, 4), (9, 1)])
def test_a_header_that_promises_more_than_there_is_allocates_nothing(shape):
    data = claimed(shape)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"t\.npy is cut off: .* it has 64; fetch"):
        read_npy(data, "t.npy")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_table_is_held_to_its_header_too(memory_store, tmp_path):
    (tmp_path / "t.npy").write_bytes(claimed((10**12, 10)))
    with pytest.raises(DataError, match=r"t\.npy is cut off: its header promises"):
        prepare(TableConfig(source=str(tmp_path / "t.npy"), name="mine"), memory_store)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as npy"),
        (b"\x93NUMPY\x03\x00", "expected version 1.0 or 2.0"),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr': print(", "cannot be read as npy"),
        (claimed((-1, 8)), r"expected a 2-D array .* shape \(-1, 8\)"),
        (claimed((0, 8)), r"expected a 2-D array .* shape \(0, 8\)"),
        (claimed((2, 2, 2)), r"expected a 2-D array"),
        (claimed((4, 2), "|O"), "Object arrays are pickles"),
        (claimed((4, 2), "<M8[ns]"), "expected a 2-D array of real numbers"),
        (claimed((4, 2), "|S8"), "expected a 2-D array of real numbers"),
        (claimed((4, 2), [("a", "<f8")]), "expected a 2-D array of real numbers"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        read_npy(data, "t.npy")


def test_damaged_headers_are_refused_whatever_the_damage():
    data = bytearray(saved(VALUES))
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(data)
        for place in rng.integers(0, 128, 3):
            damaged[place] = rng.integers(256)
        try:
            read_npy(bytes(damaged), "t.npy")
        except DataError:
            refused += 1
    assert refused > 1000
