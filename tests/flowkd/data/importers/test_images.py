"""Properties of `images`: a split by file, whole crops, and a clear message for each bad folder."""

import io
import struct
from functools import partial

import numpy as np
import pytest
from PIL import Image

from flowkd.data.importers import pictures
from flowkd.data.importers.bad_pictures import check_header
from flowkd.data.importers.crops import CropsConfig, check_size, crops_of
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.prepare import prepare
from flowkd.data.notes import Notes
from flowkd.data.reading import load_split
from flowkd.errors import DataError
from flowkd.store.store import Store
from tests.support.picture_files import chunk, encoded, png, several_frames, told

SPLITS = ("train", "val", "test")


@pytest.fixture
def store():
    memory = Store("memory://flowkd-test-images")
    yield memory
    memory.remove()


@pytest.fixture
def folder(tmp_path):
    """Ten pictures in two classes: red is the picture's number, green its row, blue its column."""
    for number in range(10):
        pixels = np.empty((20 + number, 30, 3), np.uint8)
        pixels[..., 0] = number
        pixels[..., 1] = np.arange(20 + number)[:, None]
        pixels[..., 2] = np.arange(30)
        path = tmp_path / "pictures" / ("cats" if number % 2 else "dogs") / f"{number}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, "png")
    (tmp_path / "pictures" / "notes.txt").write_text("not a picture")
    (tmp_path / "pictures" / "._0.png").write_bytes(b"left behind by another system")
    return tmp_path / "pictures"


def images(store, folder, **options):
    manifest = prepare(ImagesConfig(source=str(folder), name="mine", **options), store)
    return manifest, {split: load_split(store, manifest, split) for split in SPLITS}


@pytest.mark.parametrize(
    ("options", "crops"),
    [
        ({"crop": 16}, lambda number: 1),
        ({"crop": 16, "mode": "random", "crops": 5}, lambda number: 5),
        ({"crop": 6, "mode": "grid"}, lambda number: (20 + number) // 6 * 5),
    ],
)
def test_each_file_is_in_one_split_and_crops_are_whole(store, folder, options, crops):
    manifest, splits = images(store, folder, **options)
    crop = options["crop"]
    assert manifest.event_shape == (3, crop, crop)
    seen = []
    for part in splits.values():
        x = part.x.numpy().astype(int)
        numbers, counts = np.unique(x[:, 0, 0, 0], return_counts=True)
        assert counts.tolist() == [crops(number) for number in numbers]
        seen += numbers.tolist()
        assert (x[:, 0] == x[:, 0, :1, :1]).all()
        assert (np.diff(x[:, 1], axis=1) == 1).all()
        assert (np.diff(x[:, 2], axis=2) == 1).all()
    assert sorted(seen) == list(range(10))


def test_center_crops_are_centred(store, folder):
    _, splits = images(store, folder, crop=16)
    for row in splits["train"].x.tolist():
        assert (row[1][0][0], row[2][0][0]) == ((20 + row[0][0][0] - 16) // 2, 7)


def test_a_remote_folder_gives_what_a_local_one_gives(store, folder):
    remote = Store("memory://flowkd-test-pictures")
    for path in sorted(folder.rglob("*.PNG")):
        remote.write(path.read_bytes(), str(path.relative_to(folder)))
    _, expected = images(store, folder, crop=8, mode="random", crops=3, labels=True)
    _, found = images(store, remote.uri, crop=8, mode="random", crops=3, labels=True)
    remote.remove()
    for split in SPLITS:
        assert found[split].x.equal(expected[split].x)
        assert found[split].context.equal(expected[split].context)


def test_classes_come_from_subfolders(store, folder):
    manifest, splits = images(store, folder, crop=8, mode="grid", labels=True)
    assert (manifest.classes, manifest.class_names) == (2, ["cats", "dogs"])
    for part in splits.values():
        assert (part.context == (part.x[:, 0, 0, 0] + 1) % 2).all()


def test_resize_scales_the_shorter_side_and_grey_has_one_channel(store, folder):
    manifest, splits = images(store, folder, crop=40, resize=40, channels=1)
    assert manifest.event_shape == (1, 40, 40)
    assert splits["train"].x.float().std() > 1


def test_exif_turns_a_picture_upright(tmp_path):
    picture, sink = Image.new("RGB", (20, 10)), io.BytesIO()
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(sink, "jpeg", exif=exif)
    assert pictures.read_picture(sink.getvalue(), "a").shape == (3, 20, 10)


def bomb(width, height):
    """A PNG of 100 bytes that says it has width x height pixels."""
    data = png(np.zeros((1, 1, 3), int), 8, 2)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return data[:8] + chunk(b"IHDR", header) + data[33:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture at all", "cannot be read as a picture"),
        (b"", "is empty; replace or remove it"),
        (bomb(8000, 9000), "is refused: 8000x9000 pixels"),
        (bomb(50000, 50000), "is refused"),
        (bomb(100, 100), "cannot be read as a picture, or is truncated"),
    ],
)
def test_a_bad_picture_is_named(store, folder, content, message):
    (folder / "cats" / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=f"cats/bad.png in .*{message}"):
        images(store, folder, crop=8)
    assert store.list("datasets") == []


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff", "webp"])
def test_a_picture_truncated_anywhere_is_named(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert pictures.read_picture(data, "a").shape == (3, 64, 64)
    end = len(data) - 24  # without its checksum and closing chunk a PNG has all its pixels
    for length in [*range(1, end, end // 30), end]:
        with pytest.raises(DataError, match=r"torn cannot be read as a picture"):
            pictures.read_picture(data[:length], "torn")


def test_what_would_be_huge_once_scaled_is_refused():
    sink = io.BytesIO()
    Image.new("L", (20000, 1)).save(sink, "png")
    with pytest.raises(DataError, match="scaled to a shorter side of 64 is refused: 1280000x64"):
        pictures.read_picture(sink.getvalue(), "strip", shorter_side=64)
    fits = partial(check_size, config=CropsConfig(crop=64, resize=64))
    with pytest.raises(DataError, match="1280000x64"):  # by its header alone
        check_header(sink.getvalue()[:60], "strip", fits)


def test_sixteen_bits_are_refused_rather_than_clipped():
    sink = io.BytesIO()
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(sink, "png")
    with pytest.raises(DataError, match="deep has 16 bits a channel; expected at most 8"):
        pictures.read_picture(sink.getvalue(), "deep")


def test_a_picture_smaller_than_the_crop_is_named_with_the_remedy(store, folder):
    with pytest.raises(DataError) as error:
        images(store, folder, crop=25)
    message = str(error.value)
    assert "expected at least 25x25 pixels; got 30x2" in message
    assert ".PNG in" in message
    assert "resize: 25" in message


def test_bad_folders_are_refused(store, folder, tmp_path):
    with pytest.raises(DataError, match=r"no folder '.*/nowhere'"):
        images(store, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"it has 1 \.txt; looked for .*\.jpg, \.png"):
        images(store, tmp_path / "empty")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 40)).save(tmp_path / "empty" / name)
    with pytest.raises(DataError, match="got 2, of which 1 would be val and 1 test"):
        images(store, tmp_path / "empty")
    Image.new("RGB", (40, 40)).save(folder / "loose.png")
    with pytest.raises(DataError, match=r"loose\.png lies directly in .*set labels: false"):
        images(store, folder, crop=8, labels=True)


def test_files_that_are_left_out_are_told_with_their_suffix(store, folder):
    for name in ("a.gif", "b.svg", "cats/c.gif", "README"):
        (folder / name).write_bytes(b"something")
    manifest, _ = images(store, folder, crop=8)
    found = {part.why: (part.count, part.names) for part in manifest.left_out}
    assert {why.split(",")[0]: count for why, (count, _) in found.items()} == {
        "of suffix .gif": 2,
        "of suffix .svg": 1,
        "of suffix .txt": 1,
        "without a suffix": 1,
        "hidden": 1,
    }
    assert sorted(found["of suffix .gif, not a picture's"][1]) == ["a.gif", "cats/c.gif"]
    (remark,) = told(manifest)
    assert remark.startswith("6 files are left out")
    assert "2 .gif (" in remark


def test_a_picture_laid_over_a_background_is_remarked(store, folder):
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(folder / "cats" / "clear.png")
    manifest, splits = images(store, folder, crop=8, background="#112233")
    (remark,) = [remark for remark in manifest.remarks if "background" in remark]
    assert remark.startswith("1 pictures have transparent pixels")
    rows = [row for part in splits.values() for row in part.x[:, :, 0, 0].tolist()]
    assert [0x11, 0x22, 0x33] in rows
    with pytest.raises(DataError, match=r"clear\.png in .* has transparent pixels"):
        images(store, folder, crop=8, background=None)
    with pytest.raises(ValueError, match="'nowhite'"):
        ImagesConfig(source="a", name="a", background="nowhite")


def test_all_frames_become_rows_if_asked(store, folder):
    (folder / "cats" / "many.tiff").write_bytes(several_frames("tiff", size=(16, 16)))
    manifest, _ = images(store, folder, crop=8)
    rows = sum(split.rows for split in manifest.splits.values())
    assert [(part.what, part.count) for part in manifest.left_out if part.what == "frames"] == [
        ("frames", 2)
    ]
    every, splits = images(store, folder, crop=8, frames="all")
    assert sum(split.rows for split in every.splits.values()) == rows + 2
    assert all(part.what != "frames" for part in every.left_out)
    levels = {int(row) for part in splits.values() for row in part.x[:, 2, 0, 0]}
    assert {40, 80, 120} <= levels


def test_random_crops_of_frames_are_drawn_apart():
    places = np.stack(np.meshgrid(*[np.arange(100)] * 2), -1).astype(np.uint8)
    frame = Image.fromarray(np.dstack([places, places[..., 0]]))
    data = encoded(frame, "tiff", save_all=True, append_images=[frame] * 4)
    config = CropsConfig(crop=8, mode="random", frames="all")
    found = crops_of(data, "a", "a", config, Notes())
    assert len(np.unique(found[:, :2, 0, 0], axis=0)) > 1


def test_few_pictures_are_split_by_tiles_that_share_no_pixel(store, tmp_path):
    """A pixel tells its picture and its place, so that it is found in one split alone."""
    rows, columns = np.meshgrid(np.arange(130), np.arange(201), indexing="ij")
    for number in range(2):
        picture = np.dstack([rows, columns, np.full_like(rows, number)]).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    manifest, splits = images(store, tmp_path, crop=4, mode="grid", split_by="tile")
    assert manifest.group == "tile"
    pixels, groups = {}, {}
    for split, part in splits.items():
        flat = part.x.permute(0, 2, 3, 1).reshape(-1, 3)
        pixels[split] = {tuple(each) for each in flat.tolist()}
        groups[split] = set(part.group.tolist())
        for crop, group in zip(part.x, part.group.tolist(), strict=True):
            row, column, number = crop[:, 0, 0].tolist()
            tile = row // 16 * (201 // 16) + column // 16
            assert group % 2**32 == tile
            assert group // 2**32 == number
    for kind in (pixels, groups):
        assert sum(map(len, kind.values())) == len(set.union(*kind.values()))
    tiles = 2 * (130 // 16) * (201 // 16)
    assert sum(map(len, groups.values())) == tiles
    assert len(groups["test"]) == pytest.approx(0.1 * tiles, rel=0.5)


def test_tiles_of_other_than_a_grid_are_refused(tmp_path):
    with pytest.raises(ValueError, match="split_by: tile goes with mode: grid and frames: first"):
        ImagesConfig(name="a", source=str(tmp_path), split_by="tile")


def test_folders_that_are_splits_are_not_split_by_tiles(store, tmp_path):
    for split in SPLITS:
        (tmp_path / split).mkdir()
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / split / "a.png")
    with pytest.raises(DataError, match="are splits already: leave split_by out, or set split_fol"):
        images(store, tmp_path, crop=4, mode="grid", split_by="tile")
