"""Rows that belong together stay together: in one split, and counted as one group."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from flowkd.data.groups import FEW_GROUPS, groups_of
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.patches import PatchesConfig
from flowkd.data.importers.photos import PhotosConfig, photographs, tiles
from flowkd.data.importers.prepare import prepare
from flowkd.data.importers.table import TableConfig
from flowkd.data.manifest import SPLITS, Manifest
from flowkd.data.reading import StoredRows, load_split
from flowkd.data.rows import Examples, concat_examples
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError
from flowkd.store.store import Store

PATIENTS = np.random.default_rng(0).integers(0, 40, 600)


def patients(folder: Path, values: pa.Array | None = None) -> Path:
    """A table of which x is the patient's number, about, and `patient` the very number as text."""
    noise = np.random.default_rng(1).normal(0, 0.1, (2, len(PATIENTS)))
    names = pa.array([f"p{number}" for number in PATIENTS])
    columns = {"a": PATIENTS + noise[0], "patient": names, "b": PATIENTS + noise[1]}
    if values is not None:
        columns["patient"] = values
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def table(store: Store, path: Path, **options: object) -> Manifest:
    return prepare(TableConfig(source=str(path), name="mine", **options), store)


def png(number: int) -> bytes:
    pixels = np.full((8, 12, 3), number, np.uint8)
    pixels[..., 2] = np.arange(12)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "png")
    return sink.getvalue()


def assert_apart(store: Store, manifest: Manifest) -> dict[str, Examples]:
    """Asserts that no group is in two splits, and that the manifest counts each."""
    splits = {split: load_split(store, manifest, split) for split in SPLITS}
    own = {split: set(rows.group.tolist()) for split, rows in splits.items()}
    assert sum(map(len, own.values())) == len(set().union(*own.values()))
    assert {split: manifest.splits[split].groups for split in SPLITS} == {
        split: len(found) for split, found in own.items()
    }
    return splits


def test_a_column_of_a_table_keeps_its_rows_together(memory_store: Store, tmp_path: Path) -> None:
    manifest = table(memory_store, patients(tmp_path), group="patient", val_fraction=0.25)
    assert (manifest.columns, manifest.group) == (["a", "b"], "patient")
    splits = assert_apart(memory_store, manifest)
    assert [manifest.splits[split].groups for split in SPLITS] == [26, 10, 4]
    assert sum(map(len, splits.values())) == len(PATIENTS)
    for rows in splits.values():
        number = rows.x.round().long()
        assert (number[:, 0] == number[:, 1]).all()
        together = {(g, n) for g, n in zip(rows.group.tolist(), number[:, 0].tolist(), strict=True)}
        assert len(together) == len(set(rows.group.tolist()))  # a group is one patient
        assert (rows.group.diff() != 0).sum() > len(together)  # shuffled, not patient by patient


def test_a_table_without_groups_is_split_as_ever(memory_store: Store, tmp_path: Path) -> None:
    path = patients(tmp_path)
    manifest = table(memory_store, path, columns=["a", "b"])
    assert manifest.group is None
    rows = load_split(memory_store, manifest, "test")
    assert rows.group is None
    order = np.random.default_rng(3713240935492310167).permutation(600)  # of seed 0
    expected = pq.read_table(path)["a"].to_numpy()[order[540:]].astype(np.float32)
    assert rows.x[:, 0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": "doctor"}, "has no column 'doctor' for group; expected one of: a, patient, b"),
        ({"group": "a", "columns": ["a", "b"]}, "expected a column .* that is no other; got 'a'"),
        ({"group": "patient", "val_fraction": 0.9}, "expected enough groups in column 'patient'"),
    ],
)
def test_a_group_that_cannot_be_is_refused(
    memory_store: Store, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        table(memory_store, patients(tmp_path), **options)


def test_a_row_without_a_group_is_refused_by_name(memory_store: Store, tmp_path: Path) -> None:
    names = pa.array([None if row == 7 else f"p{row % 9}" for row in range(600)])
    with pytest.raises(DataError, match=r"column 'patient', row 8 .*: expected the row's group"):
        table(memory_store, patients(tmp_path, names), group="patient")


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_the_crops_of_a_file_are_a_group(memory_store: Store, tmp_path: Path, kind: str) -> None:
    files = {f"{number:02d}.png": png(number) for number in range(40)}
    source = tmp_path / "pictures"
    if kind == "tar":
        source = tmp_path / "pictures.tar"
        with tarfile.open(source, "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    else:
        source.mkdir()
        for name, data in files.items():
            (source / name).write_bytes(data)
    fractions = {"val_fraction": 0.2, "test_fraction": 0.2}
    config = ImagesConfig(source=str(source), name="mine", crop=4, mode="grid", **fractions)
    manifest = prepare(config, memory_store)
    assert manifest.group == "file"
    for rows in assert_apart(memory_store, manifest).values():
        number = rows.x[:, 0, 0, 0].tolist()
        assert len({*zip(rows.group.tolist(), number, strict=True)}) == len(set(number))
        assert all(count == 6 for count in torch.unique(rows.group, return_counts=True)[1])


def test_single_crops_of_files_are_rows_of_their_own(memory_store: Store, tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    manifest = prepare(ImagesConfig(source=str(tmp_path), name="mine", crop=4), memory_store)
    assert (manifest.group, manifest.splits["val"].groups) == (None, None)


@pytest.mark.parametrize("config", [PhotosConfig(), PatchesConfig(train_limit=3000)])
def test_the_tiles_of_photographs_are_groups(
    memory_store: Store, config: PhotosConfig | PatchesConfig
) -> None:
    manifest = prepare(config, memory_store)
    assert manifest.group == "tile"
    splits = assert_apart(memory_store, manifest)
    cut = [split for split, _ in tiles(photographs(), 0)]
    for split, rows in splits.items():
        assert {cut[number] for number in rows.group.tolist()} == {split}
    assert manifest.splits["test"].groups == cut.count("test") >= FEW_GROUPS
    assert manifest.remarks == []


def arrays(groups: list[int]) -> SplitArrays:
    rows = np.arange(len(groups) * 2, dtype=np.float32).reshape(-1, 2)
    return SplitArrays(rows, group=np.array(groups, np.int64))


def test_a_group_in_two_splits_is_refused(memory_store: Store) -> None:
    splits = {"train": arrays([0, 0, 1]), "val": arrays([2]), "test": arrays([3, 1])}
    with pytest.raises(ValueError, match="expected every group in one split"):
        write_dataset(memory_store, "mine", splits, kind="table", source="a test", group="file")
    with pytest.raises(ValueError, match="expected int64 group"):
        write_dataset(memory_store, "mine", splits, kind="table", source="a test")


def test_few_groups_are_remarked_with_their_number(memory_store: Store) -> None:
    many = list(range(FEW_GROUPS)) * 2
    splits = {
        "train": arrays(many),
        "val": arrays([100 + n for n in many]),
        "test": arrays([200 + n % 2 for n in many]),
    }
    draft = {"kind": "table", "source": "a test", "group": "file"}
    manifest = write_dataset(memory_store, "mine", splits, **draft)
    [remark] = manifest.remarks
    assert remark.startswith("Fewer than 30 independent groups (by file): 2 in test. ")
    assert groups_of(manifest.splits["test"]) == 2
    splits["test"] = arrays([200 + n for n in many])
    assert write_dataset(memory_store, "mine", splits, **draft).remarks == []


def test_groups_follow_their_rows(memory_store: Store) -> None:
    rows = Examples(torch.arange(6.0)[:, None], group=torch.arange(6))
    parts = [rows.slice(1, 3), rows.select(torch.tensor([5, 0]))]
    assert concat_examples(parts).group.tolist() == [1, 2, 5, 0]
    assert concat_examples([*parts, Examples(torch.zeros(1, 1))]).group is None
    splits = {"train": arrays([5, 6]), "val": arrays([2]), "test": arrays([3])}
    draft = {"kind": "table", "source": "a test", "group": "file"}
    manifest = write_dataset(memory_store, "mine", splits, **draft, shard_bytes=8)
    assert load_split(memory_store, manifest, "train").group.tolist() == [5, 6]
    # Training, which has no use for them, does not read them.
    assert StoredRows(memory_store, manifest, "train").read_all().group is None
