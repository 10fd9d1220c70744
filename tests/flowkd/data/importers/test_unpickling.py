"""A pickle of arrays is read; one that would do anything else is refused before it does."""

import os
import pickle
import struct
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from flowkd.data.importers.unpickling import load_safely
from flowkd.errors import DataError


def python2(data, labels):
    """A batch as Python 2's cPickle and its numpy wrote those of CIFAR-10: protocol 2, str."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
        b"(K\x01M" + struct.pack("<H", data.shape[0]) + b"M" + struct.pack("<H", data.shape[1])
        + b"\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<I", data.size) + data.tobytes() + b"tb"
    )  # fmt: skip
    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + text(b"training batch 1 of 5")
        + text(b"labels") + b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
        + text(b"data") + array + b"u."
    )  # fmt: skip


PLAIN = {
    "data": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "swapped": np.arange(3, dtype=">f4"),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "words": np.array(["a", "bc"]),
    "bytes": np.array([b"a", b"bc"]),
    "names": np.array(["a", None, 3.5], dtype=object),
    "scalar": np.float32(1.5),
    "truth": np.array([True, False]),
    "nested": [1, (2.5, None), {"a": b"\xff\x00"}, 2**70, {1, 2}],
}


def same(found, expected):
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    return type(found) is type(expected) and found == expected


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_and_plain_values_come_back(protocol):
    plain = dict(PLAIN)
    if protocol < 4:  # these write sets as a call of builtins.set
        plain["nested"] = plain["nested"][:-1]
    data = pickle.dumps(plain, protocol)
    assert same(load_safely(data, "a"), pickle.loads(data))


def test_what_numpy_1_wrote_comes_back():
    data = pickle.dumps(PLAIN["data"], 2).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core." in data
    assert same(load_safely(data, "a"), PLAIN["data"])


def test_what_python_2_wrote_comes_back():
    data = np.arange(256, dtype=np.uint8).reshape(2, 128)
    found = load_safely(python2(data, [3, 250]), "a")
    assert same({key: found[key] for key in ("data", "labels")}, {"data": data, "labels": [3, 250]})
    assert found["batch_label"] == "training batch 1 of 5"


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Stateful:
    def __reduce__(self):
        return np.ndarray, ((1,), "O"), (1, (1,), np.dtype("O"), False, [Call(os.getcwd)])


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda path: Call(os.system, f"touch {path}"), r"(posix|nt)\.system"),
        (
            lambda path: Call(subprocess.getoutput, f"touch {path}"),
            r"(subprocess|commands)\.getoutput",
        ),
        (lambda path: Call(eval, f"open({str(path)!r}, 'w')"), r"builtin(s|__)\.eval"),
        (lambda path: Call(open, str(path), "w"), r"io\.open"),
        (lambda path: Call(np.save, str(path), np.zeros(1)), r"numpy\.save"),
        (lambda path: Call(np.memmap, str(path), "u1", "w+", 0, 9), r"numpy\.memmap"),
        (lambda path: Call(Path.touch, path), r"(getattr|Path\.touch|pathlib)"),
        (lambda path: [PLAIN["data"], Call(getattr, "a", "upper")], r"builtin(s|__)\.getattr"),
        (lambda path: Stateful(), r"cannot be read as a pickle"),
        (lambda path: Call(np.ndarray, (2**40,), "u1"), r"cannot be read as a pickle"),
    ],
)
def test_nothing_else_is_called(tmp_path, call, named, protocol):
    made = tmp_path / "made.npy"
    data = pickle.dumps(call(made), protocol)
    with pytest.raises(DataError, match=named) as error:
        load_safely(data, "data_batch_1 in evil.tar")
    assert str(error.value).startswith("data_batch_1 in evil.tar ")
    assert list(tmp_path.iterdir()) == []


def test_the_refused_pickle_does_run_without_the_restriction(tmp_path):
    pickle.loads(pickle.dumps(Call(os.system, f"touch {tmp_path / 'made'}")))
    assert (tmp_path / "made").exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
U1 = b"cnumpy\ndtype\n(U\x02u1tR"
OBJECT = b"cnumpy\ndtype\n(U\x02O8tR"


@pytest.mark.parametrize(
    "data",
    [
        # An array of 2**40 values of which there is one.
        ARRAY + b"(K\x01(\x8a\x06\x00\x00\x00\x00\x00\x01t" + U1 + b"\x89U\x01atb.",
        # An array that begins with 2**40 values.
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
        b"(\x8a\x06\x00\x00\x00\x00\x00\x01tU\x01btR.",
        # Negative lengths, of which the product is right.
        ARRAY + b"(K\x01(J\xff\xff\xff\xffJ\xff\xff\xff\xfft" + U1 + b"\x89U\x01atb.",
        # Objects whose addresses would be the bytes given.
        ARRAY + b"(K\x01(K\x01t" + OBJECT + b"\x89U\x08aaaaaaaatb.",
        # Objects other than plain scalars.
        ARRAY + b"(K\x01(K\x01t" + OBJECT + b"\x89](]etb.",
        # A dtype whose flags say that its bytes are objects.
        ARRAY + b"(K\x01(K\x08t" + U1 + b"(K\x03U\x01|N(U\x01at}U\x01aNsK\x08K\x01K\x3ftb"
        b"\x89U\x08aaaaaaaatb.",
        b"cnumpy\ndtype\n(U\x01Ot(K\x01K\x01tR.",
        # A scalar that is an object.
        b"cnumpy.core.multiarray\nscalar\n(" + OBJECT + b"U\x08aaaaaaaatR.",
        # A state for a function of this module.
        b"cnumpy.core.multiarray\nscalar\nN}U\x0c__defaults__(K\x01ts\x86b.",
        # The memo's 2**32th place; text and bytes of 2**40 bytes; an extension; another's id.
        b"\x80\x02Nr\xff\xff\xff\xff0",
        b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00a.",
        b"\x80\x05\x96\x00\x00\x00\x10\x00\x00\x00\x00a.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02U\x01aQ.",
        b"",
        b"no pickle",
    ],
)
def test_hostile_pickles_are_refused_without_reserving_memory(data):
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="evil cannot be read as a pickle, or is cut off"):
            load_safely(data, "evil")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (b"\x8a\x06\x00\x00\x00\x00\x00\x01", "expected 1,099,511,627,776 values .*; got 1"),
        (b"J\xff\xff\xff\xffJ\xff\xff\xff\xff", "expected an array's shape and dtype"),
        (b"G?\xf0\x00\x00\x00\x00\x00\x00", "expected an array's shape and dtype"),
    ],
)
def test_an_array_of_another_shape_than_its_values_is_told(shape, message):
    with pytest.raises(DataError, match=message):
        load_safely(ARRAY + b"(K\x01(" + shape + b"t" + U1 + b"\x89U\x01atb.", "evil")


def test_bytes_made_of_one_text_again_and_again_are_refused():
    text = b"X" + struct.pack("<I", 10_000) + b"a" * 10_000
    once = b"c_codecs\nencode\nq\x00" + text + b"q\x01U\x06latin1q\x02\x86R"
    assert load_safely(b"\x80\x02](" + once + b"e.", "a") == [b"a" * 10_000]
    again = b"h\x00h\x01h\x02\x86R" * 1000
    with pytest.raises(DataError, match="latin1, once"):
        load_safely(b"\x80\x02](" + once + again + b"e.", "a")


def test_a_pickle_cut_off_anywhere_is_refused():
    data = pickle.dumps({"data": PLAIN["data"], "labels": [1, 2]}, 2)
    for length in range(len(data)):
        with pytest.raises(DataError, match=r"fetch batches\.tar again"):
            load_safely(data[:length], "one in batches.tar")


class Frame:
    """Stands in for a class that is not loaded."""


def test_a_stand_in_is_made_in_place_of_another_class():
    data = b"\x80\x02cnowhere.frame\nDataFrame\n)\x81}U\x04dataK\x05sb."
    found = load_safely(data, "a", {("nowhere.frame", "DataFrame"): Frame})
    assert (type(found), found.data) == (Frame, 5)
    with pytest.raises(DataError, match=r"asks for nowhere\.frame\.DataFrame"):
        load_safely(data, "a")
