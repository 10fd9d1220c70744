"""Properties of a table's context: vectors of columns, or the categories of one."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowkd.data.importers.prepare import prepare
from flowkd.data.importers.table import TableConfig
from flowkd.data.manifest import SPLITS
from flowkd.data.reading import load_split
from flowkd.errors import DataError

LABELS = {
    "strings": (["b", "a", "c", "a", "b", "c"], ["a", "b", "c"], [1, 0, 2, 0, 1, 2]),
    "numbers": ([10, 2, -3, 2, 10, -3], ["-3", "2", "10"], [2, 1, 0, 1, 2, 0]),
    "booleans": ([True, False] * 3, ["false", "true"], [1, 0] * 3),
    "a dictionary": (
        pa.array(["b", "a", "b", "a", "a", "b"]).dictionary_encode(), ["a", "b"], [1, 0, 1, 0, 0, 1]
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LABELS)
def test_a_column_of_categories_is_the_context(kind, memory_store, tmp_path):
    """Of each row its own: x tells the row, and so which label it had."""
    labels, names, classes = LABELS[kind]
    rows = np.arange(60.0)
    path = tmp_path / "t.parquet"
    column = pa.concat_arrays([pa.array(labels)] * 10)
    pq.write_table(pa.table({"x": rows, "y": rows**2, "kind": column}), path)
    manifest = prepare(TableConfig(source=str(path), name="t", label_column="kind"), memory_store)
    assert (manifest.columns, manifest.context_columns) == (["x", "y"], ["kind"])
    assert (manifest.classes, manifest.class_names) == (len(names), names)
    assert manifest.context_mean is None
    for split in SPLITS:
        part = load_split(memory_store, manifest, split)
        expected = [classes[int(row) % 6] for row in part.x[:, 0].tolist()]
        assert part.context.tolist() == expected


def test_a_category_without_train_rows_is_remarked(memory_store, tmp_path):
    path = tmp_path / "t.csv"
    lines = [f"{n},{n * n},{'ab'[n % 2] if n else 'rare'}" for n in range(40)]
    path.write_text("\n".join(["x,y,kind", *lines]))
    for seed in range(20):  # until the only such row is not drawn for train
        config = TableConfig(source=str(path), name="t", label_column="kind", seed=seed)
        manifest = prepare(config, memory_store)
        if 2 not in load_split(memory_store, manifest, "train").context:
            assert any("no train rows" in text and "`rare`" in text for text in manifest.remarks)
            return
        assert not any("no train rows" in text for text in manifest.remarks)
    raise AssertionError("the row was in train for every seed")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5] * 20, r"label_column 'kind': expected strings.*got double: .*context_columns"),
        (["a"] * 20, "at least 2 categories.*got 1 in 20 rows"),
        ([str(n) for n in range(20)], "got 20 in 20 rows: leave label_column out"),
        (["a", None] + ["b"] * 18, "row 2 .*expected a category; got no value; 1 such"),
        (["a", "b", ""] + ["b"] * 17, "row 3 .*got no value"),
    ],
)
def test_what_is_no_category_is_refused(labels, message, memory_store, tmp_path):
    path = tmp_path / "t.parquet"
    x = np.random.default_rng(0).normal(size=20)
    pq.write_table(pa.table({"x": x, "y": x**2, "kind": pa.array(labels)}), path)
    with pytest.raises(DataError, match=f"(?s){message}"):
        prepare(TableConfig(source=str(path), name="t", label_column="kind"), memory_store)


def test_labels_and_vectors_are_not_both_the_context():
    with pytest.raises(ValueError, match="context_columns or label_column; got both"):
        TableConfig(source="a.csv", name="t", label_column="a", context_columns=["b"])
    with pytest.raises(ValueError, match="label_column apart from columns; got 'a'"):
        TableConfig(source="a.csv", name="t", label_column="a", columns=["a", "b"])
    with pytest.raises(ValueError, match=r"not among columns, .* got 'a' in both: leave it out of"):
        TableConfig(source="a.csv", name="t", context_columns=["b", "a"], columns=["a", "c"])


def context_table(tmp_path, **context):
    path = tmp_path / "t.parquet"
    rng = np.random.default_rng(0)
    pq.write_table(pa.table({"x": rng.normal(size=50), "y": rng.normal(size=50), **context}), path)
    return {"source": str(path), "name": "t", "context_columns": list(context)}


def test_the_manifest_has_the_contexts_statistics_over_train(memory_store, tmp_path):
    given = np.arange(50.0)
    config = TableConfig(**context_table(tmp_path, energy=given, angle=1e-6 * given**2))
    manifest = prepare(config, memory_store)
    train = load_split(memory_store, manifest, "train").context.double()
    assert manifest.context_columns == ["energy", "angle"]
    for key, expected in {
        "mean": train.mean(0), "scale": train.std(0, unbiased=False),
        "minimum": train.amin(0), "maximum": train.amax(0),
    }.items():  # fmt: skip
        assert getattr(manifest, f"context_{key}") == pytest.approx(expected.tolist(), rel=1e-12)


def test_a_constant_context_is_refused_or_dropped(memory_store, tmp_path):
    config = context_table(tmp_path, energy=np.arange(50.0), run=np.full(50, 7.0))
    with pytest.raises(DataError, match=r"context columns that are constant.*: run; leave"):
        prepare(TableConfig(**config), memory_store)
    manifest = prepare(TableConfig(**config, constant="drop"), memory_store)
    assert (manifest.context_columns, manifest.context_size) == (["energy"], 1)
    assert "Context constant over the train split and dropped: `run`." in manifest.remarks
    alone = context_table(tmp_path, run=np.full(50, 7.0))
    with pytest.raises(DataError, match="constant"):
        prepare(TableConfig(**alone, constant="drop"), memory_store)


def test_a_context_that_float32_cannot_tell_apart_is_refused(memory_store, tmp_path):
    rng = np.random.default_rng(0)
    config = TableConfig(**context_table(tmp_path, epoch=1.7e9 + rng.normal(size=50)))
    with pytest.raises(DataError, match=r"context column 'epoch': .* 1.7e\+09 is lost in float32"):
        prepare(config, memory_store)


def test_a_context_of_which_float32_makes_values_equal_is_remarked_and_one_that_repeats_is_not(
    memory_store, tmp_path
):
    row = np.arange(50.0)
    config = context_table(tmp_path, epoch=1.7e9 + 2e4 * (row % 2) + row / 50, level=row % 3)
    manifest = prepare(TableConfig(**config), memory_store)
    [remark] = [each for each in manifest.remarks if "Context" in each]
    assert remark.startswith("Context `epoch` has 40 distinct values, of which float32 leaves 2, ")
    assert remark.endswith("subtract an offset from the column, or leave it out.")
