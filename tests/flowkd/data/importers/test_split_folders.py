"""Folders and tars of splits are the splits, never classes, and what could be either is refused."""

import pytest

from flowkd.data.importers.split_folders import splits_of_folders, splits_of_tars
from flowkd.data.manifest import SPLITS
from flowkd.data.reading import load_split
from flowkd.errors import DataError
from tests.support.picture_files import imported, laid, picture, told


def counted(store, manifest):
    return {
        split: sorted(load_split(store, manifest, split).x[:, 0, 0, 0].tolist()) for split in SPLITS
    }


def files(counts):
    """Files in folders of splits and classes; the red of each is its number."""
    names = [
        f"{folder}/{'ab'[n % 2]}/{n}.png" for folder, count in counts.items() for n in range(count)
    ]
    return {name: picture(number) for number, name in enumerate(names)}


def tree(folder, found):
    for name, data in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "testing")])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_folders_are_the_splits(memory_store, tmp_path, form, names):
    found = files(dict(zip(names, (8, 4, 6), strict=True)))
    if form == "zip":
        inner = {f"mine/{name}": data for name, data in found.items()}
        source = laid("zip", tmp_path / "source", inner)
    else:
        source = tree(tmp_path / "source", found)
    manifest, _ = imported(memory_store, source, labels=True)
    expected = dict(zip(SPLITS, (range(8), range(8, 12), range(12, 18)), strict=True))
    assert counted(memory_store, manifest) == {k: list(v) for k, v in expected.items()}
    assert manifest.class_names == ["a", "b"]
    assert "The splits are the source's folders: train, val, test." in manifest.remarks


@pytest.mark.parametrize(("there", "missing"), [("val", "test"), ("test", "val")])
def test_a_split_without_a_folder_is_drawn_from_train(memory_store, tmp_path, there, missing):
    source = tree(tmp_path / "source", files({"train": 20, there: 5}))
    manifest, _ = imported(memory_store, source)
    found = counted(memory_store, manifest)
    assert found[there] == list(range(20, 25))
    assert sorted(found["train"] + found[missing]) == list(range(20))
    assert len(found[missing]) == 2
    assert f"{missing} drawn from train" in manifest.remarks[0]


def test_they_can_be_folders_as_others_are(memory_store, tmp_path):
    source = tree(tmp_path / "source", files({"train": 20, "val": 5}))
    manifest, _ = imported(memory_store, source, labels=True, split_folders=False)
    assert manifest.class_names == ["train", "val"]
    alone = tree(tmp_path / "alone", files({"train": 20}))
    manifest, _ = imported(memory_store, alone, labels=True)
    assert manifest.class_names == ["a", "b"]
    assert "from which the splits are drawn" in manifest.remarks[0]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["cats", "dogs"], None),
        (["train", "bus", "car"], None),  # classes
        (["train", "train"], ["train", "train"]),
        (["TRAIN", "Validation"], ["train", "val"]),
        (["train", "val", "extra"], "extra/a.png is in none of them"),
        (["val", "test"], "without train"),
    ],
)
def test_only_what_can_be_nothing_else_is_taken_for_splits(folders, expected):
    paths = [(folder, "a.png") for folder in folders]
    if isinstance(expected, str):
        with pytest.raises(DataError, match=f"{expected}.*split_folders: false"):
            splits_of_folders(paths, "here")
    else:
        assert splits_of_folders(paths, "here") == expected
    assert splits_of_folders([("train.png",), ("val.png",)], "here") is None


def test_tars_of_splits_are_the_splits(memory_store, tmp_path):
    (tmp_path / "tars").mkdir()
    for start, name in ((0, "mine-train-000"), (30, "mine-train-001"), (60, "mine-val-000")):
        members = {f"{n:06d}.png": picture(n) for n in range(start, start + 30)}
        laid("tar", tmp_path / "tars" / name, members)
    manifest, _ = imported(memory_store, str(tmp_path / "tars"), test_fraction=0.2)
    found = counted(memory_store, manifest)
    assert found["val"] == list(range(60, 90))
    assert sorted(found["train"] + found["test"]) == list(range(60))
    assert 4 < len(found["test"]) < 24
    assert splits_of_tars(["cats.tar", "contrails.tar"], "here") is None
    with pytest.raises(DataError, match=r"other\.tar is in none of them"):
        splits_of_tars(["train.tar", "val.tar", "other.tar"], "here")


def test_a_tar_with_folders_of_several_splits_is_refused(memory_store, tmp_path):
    found = files({"train": 40, "val": 20})
    source = laid("tar", tmp_path / "source", found)
    with pytest.raises(DataError, match=r"val/a/0 in .* another split .* split_folders: false"):
        imported(memory_store, source)
    manifest, numbers = imported(memory_store, source, split_folders=False)
    assert numbers == list(range(60))
    assert told(manifest) == []
