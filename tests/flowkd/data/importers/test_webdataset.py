"""Pictures in tars and zips: the same crops as from folders, classes, bounded memory, going on."""

import io
import itertools
import tarfile
import weakref
import zipfile

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from flowkd.data.importers import crops, images, webdataset
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.prepare import prepare
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import DataError
from flowkd.store.store import Store

COUNT = 60


def png(number, width=12, height=10):
    """A picture of which red is its number, green its row and blue its column."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = number
    pixels[..., 1] = np.arange(height)[:, None]
    pixels[..., 2] = np.arange(width)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "png")
    return sink.getvalue()


def shard(numbers, classes=True):
    """A shard's files as WebDataset writes them."""
    files = {}
    for number in numbers:
        if classes:
            files[f"{number:06d}.cls"] = str(number % 3).encode()
        files[f"{number:06d}.jpg"] = png(number)
        files[f"{number:06d}.json"] = b"{}"
    return files


def tar(path, files, mode="w"):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    for number in range(3):
        numbers = range(number * 20, number * 20 + 20)
        tar(folder / f"train-{number:03d}.tar", shard(numbers))
    (folder / "dataset.json").write_text("{}")
    return folder


def imported(store, source, **options):
    config = ImagesConfig(**{"source": str(source), "name": "mine", "crop": 8, **options})
    manifest = prepare(config, store)
    return manifest, {split: load_split(store, manifest, split) for split in manifest.splits}


def numbers(splits):
    return {split: sorted(part.x[:, 0, 0, 0].tolist()) for split, part in splits.items()}


FORMS = {
    "folder": "{}",
    "braces": "{}/train-{{000..002}}.tar",
    "star": "{}/train-*.tar",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_picture_of_the_shards_is_there_once_with_its_class(memory_store, shards, form):
    manifest, splits = imported(memory_store, FORMS[form].format(shards), labels=True, classes=3)
    assert (manifest.event_shape, manifest.classes) == ((3, 8, 8), 3)
    found = numbers(splits)
    assert sorted(itertools.chain(*found.values())) == list(range(COUNT))
    assert len(found["train"]) > len(found["val"]) > 0 < len(found["test"])
    for part in splits.values():
        assert (part.context == part.x[:, 0, 0, 0] % 3).all()
        assert (part.x[:, 1, :, 0] == np.arange(1, 9)).all()
        assert (part.x[:, 2, 0, :] == np.arange(2, 10)).all()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_single_tar_gives_what_the_shards_give(memory_store, shards, tmp_path, mode):
    whole = tar(tmp_path / f"all.tar{mode[1:].replace(':', '.')}", shard(range(COUNT)), mode)
    _, expected = imported(memory_store, shards, name="shards")
    _, found = imported(memory_store, whole)
    assert numbers(found) == numbers(expected)
    assert all(part.context is None for part in found.values())


def test_shards_on_an_object_store_give_what_local_ones_give(memory_store, shards):
    remote = Store("memory://flowkd-test-shards")
    for path in shards.glob("*.tar"):
        remote.write(path.read_bytes(), "deep", path.name)
    _, expected = imported(memory_store, shards, name="local")
    for source in ("deep", "deep/*.tar", "deep/train-{000..002}.tar"):
        _, found = imported(memory_store, f"{remote.uri}/{source}", name="remote")
        assert numbers(found) == numbers(expected)
    remote.remove()


@pytest.mark.parametrize("options", [{}, {"mode": "random", "crops": 3}, {"labels": True}])
def test_a_zip_gives_what_the_folder_gives(memory_store, tmp_path, options):
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            name = f"{'cats' if number % 2 else 'dogs'}/{number}.png"
            archive.writestr(f"pictures/{name}", png(number))
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_bytes(png(number))
        archive.writestr("pictures/notes.txt", "no picture")
        archive.writestr("pictures/cats/._1.png", "left behind by another system")
    _, expected = imported(memory_store, tmp_path / "folder", name="folder", **options)
    manifest, found = imported(memory_store, path, **options)
    assert numbers(found) == numbers(expected)
    if options.get("labels"):
        assert manifest.class_names == ["cats", "dogs"]
        for part in found.values():
            assert (part.context == (part.x[:, 0, 0, 0] + 1) % 2).all()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_that_has_a_picture_twice_is_refused(memory_store, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in (1, 2, 3, 2):
            archive.writestr(f"{number}.png", png(number))
    with pytest.raises(DataError, match=r"2\.png in .*a\.zip is there twice"):
        imported(memory_store, tmp_path / "a.zip")


def test_parts_are_the_same_rows_whatever_their_size(memory_store, tmp_path, monkeypatch):
    for number in range(30):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    options = {"mode": "random", "crops": 3}
    _, expected = imported(memory_store, tmp_path, name="whole", **options)
    monkeypatch.setattr(crops, "CHUNK_PICTURES", 4)
    manifest, found = imported(memory_store, tmp_path, **options)
    assert len(manifest.splits["train"].shards) == 6
    for split, part in found.items():
        rows = [sorted(row.tobytes() for row in x.x.numpy()) for x in (part, expected[split])]
        assert rows[0] == rows[1]


class Marked(np.ndarray):
    """An array that a weak set may have."""

    __hash__ = object.__hash__


def test_no_two_parts_are_alive_at_a_time(memory_store, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(crops, "CHUNK_PICTURES", 5)
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    alive, original = weakref.WeakSet(), images.crops_of
    counts = []

    def counted(*arguments):
        found = original(*arguments).view(Marked)
        alive.add(found)
        counts.append(len(alive))
        return found

    monkeypatch.setattr(images, "crops_of", counted)
    for source in (shards, tmp_path):
        imported(memory_store, source)
    assert len(counts) == COUNT + 40
    assert max(counts) <= 2 * 5


def test_an_interrupted_import_decodes_no_finished_part_again(memory_store, shards, monkeypatch):
    monkeypatch.setattr(crops, "CHUNK_PICTURES", 8)
    _, expected = imported(memory_store, shards, name="whole")
    decoded, original = [], images.crops_of

    def crops_of(data, name, *arguments):
        decoded.append(int(name[:6]))
        if len(decoded) == 31:  # in the second shard, in its second part
            raise KeyboardInterrupt
        return original(data, name, *arguments)

    monkeypatch.setattr(images, "crops_of", crops_of)
    with pytest.raises(KeyboardInterrupt):
        imported(memory_store, shards)
    with pytest.raises(DataError, match="no dataset 'mine'"):
        read_manifest(memory_store, "mine")
    _, found = imported(memory_store, shards)
    assert decoded == [*range(31), *range(28, COUNT)]
    assert numbers(found) == numbers(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"000025.cls": None},
            r"expected 000025\.cls, with the class, beside 000025\.jpg in .*001",
        ),
        ({"000025.cls": b"3"}, r"class of 0 to 2 in 000025\.cls .*; got '3'"),
        ({"000025.cls": b"cat"}, r"class of 0 to 2 in 000025\.cls .*; got 'cat'"),
        ({"000025.cls": b"-1"}, r"class of 0 to 2 in 000025\.cls .*; got '-1'"),
        ({"000025.cls": bytes(5000)}, r"000025\.cls in .* at most 1,024 bytes; it has 5,000"),
        ({"000025.jpg": b"no picture"}, r"000025\.jpg in .*001\.tar cannot be read as a picture"),
        ({"000025.jpg": png(1, 7, 7)}, r"000025\.jpg in .* smaller than the crop: .* got 7x7"),
        ({f"dog.{n}.png": png(n) for n in range(17)}, r"at most 16 pictures under one name .* dog"),
    ],
)
def test_a_bad_sample_is_named(memory_store, shards, change, message):
    files = {**shard(range(20, 40)), **change}
    tar(shards / "train-001.tar", {k: v for k, v in files.items() if v is not None})
    with pytest.raises(DataError, match=message):
        imported(memory_store, shards, labels=True, classes=3)
    with pytest.raises(DataError, match="no dataset"):
        read_manifest(memory_store, "mine")


def test_a_shard_cut_off_anywhere_is_told(memory_store, shards):
    path = shards / "train-001.tar"
    whole = path.read_bytes()
    for length in (0, 512, 5 * 1024, 20 * 1024):  # all but 512 are between two members
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"train-001\.tar is cut off or damaged"):
            imported(memory_store, shards)
        with pytest.raises(DataError, match="no dataset"):
            read_manifest(memory_store, "mine")


def test_names_that_lead_outside_links_and_hidden_files_do_no_harm(memory_store, tmp_path):
    files = {f"../../{number}.png": png(number) for number in range(30)}
    path = tar(tmp_path / "inner" / "evil.tar", {**files, "._a.png": b"x", "b/.c/a.png": b"x"})
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("link.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(info)
    before = sorted(tmp_path.rglob("*"))
    _, splits = imported(memory_store, path)
    assert sorted(itertools.chain(*numbers(splits).values())) == list(range(30))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_source_that_could_mean_two_things_or_nothing_is_refused(memory_store, shards):
    with pytest.raises(
        DataError, match=r"expected the number of classes for labels .* set classes"
    ):
        imported(memory_store, shards, labels=True)
    with pytest.raises(DataError, match=r"train-003\.tar"):
        imported(memory_store, f"{shards}/train-{{000..003}}.tar")
    with pytest.raises(DataError, match=r"there is no tar '.*/test-\*\.tar'"):
        imported(memory_store, f"{shards}/test-*.tar")
    (shards / "loose.png").write_bytes(png(0))
    with pytest.raises(DataError, match=r"it has both, train-000\.tar and loose\.png"):
        imported(memory_store, shards)
    for name in shards.glob("*.tar"):
        name.unlink()
    with pytest.raises(DataError, match="classes=3 is for tars"):
        imported(memory_store, shards, labels=True, classes=3)
    with pytest.raises(ValidationError, match="classes=3 goes with labels: true"):
        ImagesConfig(source="a", name="a", classes=3)


def test_the_split_by_name_has_the_shares_asked_for_and_depends_on_the_seed():
    def splits(seed):
        names = [f"{number:06d}" for number in range(4000)]
        shares = {"val_fraction": 0.1, "test_fraction": 0.2, "seed": seed}
        return [webdataset.split_by_name(name, **shares) for name in names]

    first = splits(0)
    assert first == splits(0) != splits(1)
    for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert abs(first.count(split) / 4000 - share) < 0.03
