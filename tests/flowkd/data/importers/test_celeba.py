"""CelebA as published: the crop, the splits, and each picture that is not as the others are."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from flowkd.data.importers import celeba
from flowkd.data.importers.celeba import CelebaConfig
from flowkd.data.importers.prepare import prepare
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import DataError

SPLITS = {"train": range(1, 8), "val": range(8, 10), "test": range(10, 13)}


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(celeba, "ROWS", {split: len(part) for split, part in SPLITS.items()})
    monkeypatch.setattr(celeba, "CHUNK_PICTURES", 5)


def face(number, width=178, height=218):
    """Red is the picture's number, green and blue its rows and columns, flat within 8 pixels."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = 10 * number
    pixels[..., 1] = np.arange(height)[:, None]
    pixels[..., 2] = np.arange(width)
    return pixels


def jpeg(pixels):
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "jpeg", quality=100, subsampling=0)
    return sink.getvalue()


def published():
    return {
        f"img_align_celeba/{number:06d}.jpg": jpeg(face(number))
        for part in SPLITS.values()
        for number in part
    }


def partition(skip=(), more=""):
    lines = [
        f"{number:06d}.jpg {digit}\n"
        for digit, part in enumerate(SPLITS.values())
        for number in part
        if number not in skip
    ]
    return "".join(lines) + more


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("img_align_celeba")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def furnished(folder, form, files=None, text=None):
    """The downloads in a folder, as they come or extracted."""
    files = published() if files is None else files
    folder.mkdir()
    (folder / "list_eval_partition.txt").write_text(partition() if text is None else text)
    if form == "zip":
        zipped(folder / "img_align_celeba.zip", files)
    else:
        for name, data in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
    return folder


def imported(store, source, **options):
    manifest = prepare(CelebaConfig(source=str(source), **options), store)
    return manifest, {split: load_split(store, manifest, split).x.numpy() for split in SPLITS}


def cropped(data, size):
    """The crop of Real NVP, by its own slice, averaged as Pillow does."""
    pixels = np.asarray(Image.open(io.BytesIO(data)))[40:188, 15:163, :]
    small = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small).transpose(2, 0, 1)


@pytest.mark.parametrize("form", ["zip", "extracted"])
@pytest.mark.parametrize("size", [32, 64])
def test_every_face_is_cropped_as_the_field_does_and_in_its_split(
    memory_store, tmp_path, form, size
):
    source = furnished(tmp_path / "celeba", form)
    manifest, splits = imported(memory_store, source, size=size)
    assert (manifest.event_shape, manifest.bins, manifest.classes) == ((3, size, size), 256, None)
    files = list(published().values())
    for split, x in splits.items():
        expected = {cropped(files[number - 1], size).tobytes() for number in SPLITS[split]}
        assert {row.tobytes() for row in x} == expected
        assert len(x) == len(expected)


def test_the_crop_begins_at_row_40_and_column_15(memory_store, tmp_path):
    _, splits = imported(memory_store, furnished(tmp_path / "celeba", "zip"))
    step = 148 / 64
    for row in splits["test"].astype(float):
        assert np.abs(row[1, 1:-1, 5] - (40 + step * (np.arange(64) + 0.5) - 0.5)[1:-1]).max() < 2
        assert np.abs(row[2, 5, 1:-1] - (15 + step * (np.arange(64) + 0.5) - 0.5)[1:-1]).max() < 2


def test_scaling_averages_over_all_pixels(memory_store, tmp_path):
    files = published()
    stripes = np.zeros((218, 178, 3), np.uint8)
    stripes[:, ::2] = 255
    files["img_align_celeba/000010.jpg"] = jpeg(stripes)
    _, splits = imported(memory_store, furnished(tmp_path / "celeba", "zip", files), size=32)
    row = min(splits["test"], key=lambda x: np.abs(x[0].astype(int) - x[1]).max())
    assert np.abs(row.astype(int) - 127).max() < 25


def test_zip_and_partition_may_be_named_apart(memory_store, tmp_path):
    path = zipped(tmp_path / "img_align_celeba.zip", published())
    (tmp_path / "parts.txt").write_text(partition())
    _, apart = imported(memory_store, path, partition=str(tmp_path / "parts.txt"), name="apart")
    _, folder = imported(memory_store, furnished(tmp_path / "celeba", "zip"))
    for split in SPLITS:
        assert {x.tobytes() for x in apart[split]} == {x.tobytes() for x in folder[split]}
    with pytest.raises(
        DataError, match=r"expected list_eval_partition\.txt in .*; set part|put it"
    ):
        imported(memory_store, path)


def without(name):
    return {path: data for path, data in published().items() if not path.endswith(name)}


@pytest.mark.parametrize("form", ["zip", "extracted"])
@pytest.mark.parametrize(
    ("files", "text", "message"),
    [
        ({**published(), "img_align_celeba/000009.jpg": jpeg(face(9, 218, 178))}, None,
         r"000009\.jpg in .* has 218x178 pixels; expected 178x218; img_align_celeba\.zip has all"),
        ({**published(), "img_align_celeba/000009.jpg": published().popitem()[1][:900]}, None,
         r"000009\.jpg in .* cannot be read as a picture, or is truncated"),
        ({**published(), "img_align_celeba/000013.jpg": jpeg(face(13))}, None,
         r"expected img_align_celeba/000013\.jpg in .* in list_eval_partition\.txt; .* 0 others"),
        (without("000004.jpg"), None, r"expected 000004\.jpg in .*, as the partition says"),
        (None, partition(skip=[5]), r"expected {'train': 7, .*} pictures in .*; got {'train': 6,"),
        (None, partition(more="000001.jpg 1\n"), r"in line 13 of .*; got b'000001\.jpg 1'"),
        (None, partition(more="000013.jpg 3\n"), "a new name and 0, 1 or 2, .* in line 13"),
        (None, partition(more="what is this\n"), "a new name and 0, 1 or 2, .* in line 13"),
    ],
)  # fmt: skip
def test_what_is_not_as_published_is_named(memory_store, tmp_path, form, files, text, message):
    source = furnished(tmp_path / "celeba", form, files, text)
    with pytest.raises(DataError, match=message):
        imported(memory_store, source)
    with pytest.raises(DataError, match="no dataset"):
        read_manifest(memory_store, "celeba")


def test_a_zip_cut_off_is_told(memory_store, tmp_path):
    source = furnished(tmp_path / "celeba", "zip")
    path = source / "img_align_celeba.zip"
    whole = path.read_bytes()
    for part in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(DataError, match=r"img_align_celeba\.zip is cut off or damaged.* again"):
            imported(memory_store, source)
    assert memory_store.list("datasets") == []


def test_another_archive_is_refused(memory_store, tmp_path):
    (tmp_path / "celeba.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"expected img_align_celeba\.zip, or a folder"):
        imported(memory_store, tmp_path / "celeba.tar")


def test_what_is_imported_is_not_decoded_again(memory_store, tmp_path, monkeypatch):
    source = furnished(tmp_path / "celeba", "zip")
    decoded = []
    original = celeba._face

    def face_of(member, size):
        decoded.append(member.name[-6:-4])
        if decoded.count("08") == 1 and decoded[-1] == "08":
            raise KeyboardInterrupt
        return original(member, size)

    monkeypatch.setattr(celeba, "_face", face_of)
    with pytest.raises(KeyboardInterrupt):
        imported(memory_store, source)
    with pytest.raises(DataError, match="no dataset"):
        read_manifest(memory_store, "celeba")
    _, splits = imported(memory_store, source)
    assert [len(x) for x in splits.values()] == [7, 2, 3]
    again = sorted({number for number in decoded if decoded.count(number) > 1})
    assert again == ["06", "07", "08"]  # of the second part of five


@pytest.mark.parametrize("form", ["zip", "extracted"])
def test_bad_pictures_are_named_all_at_once_or_left_out(memory_store, tmp_path, monkeypatch, form):
    files = published()
    files["img_align_celeba/000002.jpg"] = b""
    files["img_align_celeba/000006.jpg"] = jpeg(face(6, 100, 218))
    files["img_align_celeba/000009.jpg"] = b"a text"
    torn = "img_align_celeba/000011.jpg"  # its header is right
    files[torn] = files[torn][:9000]
    source = furnished(tmp_path / "celeba", form, files)
    decoded, original = [], celeba._face
    monkeypatch.setattr(celeba, "_face", lambda *given: decoded.append(1) or original(*given))
    with pytest.raises(DataError, match=r"3 pictures in .* are refused: .*skip_un") as error:
        imported(memory_store, source)
    for part in ("1 empty (", "1 of other than 178x218 pixels (", "000009.jpg"):
        assert part in str(error.value)
    assert decoded == memory_store.list("datasets") == []
    manifest, splits = imported(memory_store, source, skip_unreadable=True)
    assert {split: len(x) for split, x in splits.items()} == {"train": 5, "val": 1, "test": 2}
    assert sum(part.count for part in manifest.left_out) == 4
    assert any(remark.startswith("4 pictures are left out") for remark in manifest.remarks)
