"""Statistics of a context, however it comes: in parts, in chunks of an import, far from 0."""

from __future__ import annotations

import numpy as np
import pytest

from flowkd.data.chunked_import import ImportChunk, import_chunks
from flowkd.data.context_statistics import ColumnStatistics
from flowkd.data.manifest import Manifest
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError


def rows(count: int, seed: int) -> SplitArrays:
    rng = np.random.default_rng(seed)
    context = np.stack([rng.normal(1e4, 3.0, count), rng.uniform(0, 1e-6, count)], 1)
    return SplitArrays(rng.normal(size=(count, 2)).astype(np.float32), context.astype(np.float32))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_parts_have_the_statistics_of_the_whole(size):
    values = np.random.default_rng(0).normal(1e9, 1.0, (500, 3)) * [1.0, -1.0, 1e-6]
    seen = ColumnStatistics(3)
    for start in range(0, 500, size):
        seen.add(values[start : start + size])
    np.testing.assert_allclose(seen.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(seen.scale, values.std(0), rtol=1e-6)
    np.testing.assert_array_equal([seen.minimum, seen.maximum], [values.min(0), values.max(0)])


def test_a_chunked_import_has_those_of_its_train_rows(memory_store):
    """All of them, also those that an attempt before has written."""
    parts = [{"train": rows(30, n), "val": rows(5, n), "test": rows(5, n)} for n in range(3)]
    draft = Manifest(
        name="chunks", kind="table", event_shape=(2,), context_size=2, splits={}, source="a test",
        columns=["a", "b"], mean=[0.0, 0.0], scale=[1.0, 1.0],
    )  # fmt: skip

    def broken():
        raise OSError("cut off")

    def chunks(last):
        return [ImportChunk(str(n), lambda n=n: parts[n]) for n in range(2)] + [
            ImportChunk("2", last)
        ]

    with pytest.raises(OSError, match="cut off"):
        import_chunks(memory_store, draft, chunks(broken), fingerprint="a")
    done = import_chunks(memory_store, draft, chunks(lambda: parts[2]), fingerprint="a")
    context = np.concatenate([part["train"].context for part in parts]).astype(np.float64)
    assert done.context_mean == pytest.approx(context.mean(0).tolist(), rel=1e-9)
    assert done.context_scale == pytest.approx(context.std(0).tolist(), rel=1e-6)
    assert done.context_minimum == context.min(0).tolist()


def test_a_constant_context_is_named_by_its_place_where_it_has_no_name(memory_store):
    faulty = rows(20, 0)
    faulty.context[:, 1] = 3.0
    splits = dict.fromkeys(("train", "val", "test"), faulty)
    with pytest.raises(DataError, match=r"dataset 'a' has context columns .* context\[1\]; leave"):
        write_dataset(memory_store, "a", splits, kind="table", source="a test")
