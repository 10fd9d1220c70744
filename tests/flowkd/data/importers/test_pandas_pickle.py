"""Properties of `frames`: old pickles give their columns, and nothing that they name is run."""

import io
import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest
from pandas.compat.pickle_compat import Unpickler

from flowkd.data.importers.pandas_pickle import read_pandas_pickle
from flowkd.errors import DataError
from tests.support import old_pickles

RNG = np.random.default_rng(0)
FLOATS = {name: RNG.normal(size=20) for name in ("Time", "a", "b")}
MIXED = {"a": FLOATS["a"], "count": np.arange(20), "b": FLOATS["b"], "more": np.arange(20) ** 2}


def stacked(columns):
    return np.stack(list(columns.values())).astype(np.float64)


@pytest.mark.parametrize("version", old_pickles.INDEXES)
@pytest.mark.parametrize("columns", [FLOATS, MIXED])
def test_old_pickles_give_names_and_values(version, columns):
    data = old_pickles.pickled(columns, version)
    names, values = read_pandas_pickle(data, "t.pickle")
    assert names == list(columns)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, stacked(columns))


def test_they_are_what_python_2_wrote_and_pandas_still_reads():
    data = old_pickles.pickled(MIXED, "0.20")
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(data)}
    assert "SHORT_BINSTRING" in opcodes
    assert not opcodes & {"BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "STACK_GLOBAL", "FRAME"}
    found = Unpickler(io.BytesIO(data), encoding="latin1").load()
    pd.testing.assert_frame_equal(found, pd.DataFrame(MIXED), check_column_type=False)


def test_rows_in_another_order_stay_in_it():
    index = old_pickles.Int64Index(data=RNG.permutation(20), name=None)
    _, values = read_pandas_pickle(old_pickles.pickled(FLOATS, index=index), "t.pickle")
    np.testing.assert_array_equal(values, stacked(FLOATS))


@pytest.mark.parametrize("protocol", [2, 4])
def test_todays_pandas_is_read_where_names_are_objects(protocol):
    frame = pd.DataFrame(MIXED)
    frame.columns = frame.columns.astype(object)
    file = io.BytesIO()
    frame.to_pickle(file, protocol=protocol)
    names, values = read_pandas_pickle(file.getvalue(), "t.pickle")
    assert names == list(MIXED)
    np.testing.assert_array_equal(values, stacked(MIXED))


@pytest.mark.parametrize("protocol", [2, 5])
def test_todays_texts_and_buffers_are_refused_with_a_way_out(protocol):
    file = io.BytesIO()
    pd.DataFrame(FLOATS).to_pickle(file, protocol=protocol)
    with pytest.raises(DataError, match=r"t\.pickle .*convert it: .*to_parquet"):
        read_pandas_pickle(file.getvalue(), "t.pickle")


class Evil:
    ran = False

    def __reduce__(self):
        return setattr, (Evil, "ran", True)


@pytest.mark.parametrize("value", [Evil(), {"a": Evil()}, [np.array([Evil()])]])
def test_nothing_that_a_pickle_names_is_run(value):
    with pytest.raises(DataError, match="setattr"):
        read_pandas_pickle(pickle.dumps(value), "t.pickle")
    assert not Evil.ran


def manager(names, *blocks):
    axes = [old_pickles.Index(data=np.array(names, object)), old_pickles.RangeIndex()]
    frame = old_pickles.DataFrame()
    frame._data = old_pickles.BlockManager(axes, list(blocks), [])
    return old_pickles.dumped(frame)


def block(values, places):
    return {"values": values, "mgr_locs": places}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (old_pickles.pickled(FLOATS)[:-40], "t.pickle"),
        (b"", "t.pickle"),
        (b"hello", "t.pickle"),
        (pickle.dumps([1, 2]), "expected a pandas DataFrame in t.pickle; got list"),
        (old_pickles.dumped(old_pickles.DataFrame()), "another layout"),
        (manager(["a"]), "another layout"),
        (manager(["a", "b"], block(np.zeros((1, 3)), slice(0, 1))), "2 columns, blocks of .1."),
        (
            manager(["a", "b"], block(np.zeros((2, 3)), np.array([0, 0]))),
            "2 columns, blocks of .2.",
        ),
        (
            manager(
                ["a", "b"],
                block(np.zeros((1, 3)), slice(0, 1)),
                block(np.zeros((1, 4)), slice(1, 2)),
            ),
            "rows",
        ),
        (manager(["a"], block(np.array([["x"]], object), slice(0, 1))), "expected numbers"),
        (manager(["a"], block(np.zeros(3), slice(0, 1))), "another layout"),
        (manager(["a"], block("xyz", slice("a"))), "another layout"),
    ],
)
def test_faulty_pickles_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        read_pandas_pickle(data, "t.pickle")
