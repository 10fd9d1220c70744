"""Pictures that are refused are named all at once, or left out and counted, wherever they lie."""

import pytest
from PIL import Image

from flowkd.data.importers import crops, images
from flowkd.errors import DataError
from tests.support.picture_files import encoded, imported, laid, noise, picture, png, told

BAD = {
    "empty": b"",
    "text": b"this is a text",
    "deep": png(noise(20, 20, 3), 16, 2),
    "small": encoded(Image.fromarray(noise(5, 5, 3)), "png"),
}
REASONS = {"empty", "of another format: unknown", "of 16 bits a channel", "smaller than the crop"}


FORMS = ["folder", "memory", "zip", "tar"]


@pytest.mark.parametrize("form", FORMS)
def test_all_are_named_before_anything_is_decoded(memory_store, tmp_path, monkeypatch, form):
    files = {f"{n}.png": picture(n) for n in range(40)}
    files |= {f"{name}.png": data for name, data in BAD.items()}
    files |= {f"also{number:02d}.png": b"" for number in range(20)}
    source = laid(form, tmp_path / "source", files)
    decoded = []
    monkeypatch.setattr(images, "crops_of", lambda *arguments: decoded.append(arguments))
    with pytest.raises(DataError) as error:
        imported(memory_store, source)
    message = str(error.value)
    assert "24 pictures in " in message
    for part in ("21 empty (", "1 of 16 bits", "1 smaller than", "deep.png", "small.png", "text.p"):
        assert part in message
    assert message.count("also") <= 11
    assert "skip_unreadable: true" in message
    assert decoded == memory_store.list("datasets") == []


@pytest.mark.parametrize("form", FORMS)
def test_they_are_left_out_and_counted_if_asked(memory_store, tmp_path, form):
    good = {f"{n}.png": picture(n) for n in range(40)}
    torn = {"torn.png": picture(99)[:400]}  # whose header is right
    bad = {f"{name}.png": data for name, data in BAD.items()}
    source = laid(form, tmp_path / "source", {**torn, **good, **bad})
    with pytest.raises(DataError, match="skip_unreadable"):
        imported(memory_store, source)
    manifest, numbers = imported(memory_store, source, skip_unreadable=True)
    assert numbers == list(range(40))
    left_out = {part.why: part for part in manifest.left_out}
    assert left_out.keys() == REASONS | {"cut off or damaged"}
    assert {part.count for part in manifest.left_out} == {1}
    assert left_out["cut off or damaged"].names == ["torn.png"]
    (remark,) = told(manifest)
    assert "5 pictures are left out" in remark


@pytest.mark.parametrize("form", FORMS)
def test_what_an_interrupted_import_left_out_is_counted_once(
    memory_store, tmp_path, monkeypatch, form
):
    monkeypatch.setattr(crops, "CHUNK_PICTURES", 4)
    files = {f"{n:02d}.png": picture(n)[: None if n % 5 else 400] for n in range(40)}
    source = laid(form, tmp_path / "source", files)
    original, decoded = images.crops_of, []

    def interrupted(*arguments):
        decoded.append(arguments)
        if len(decoded) == 23:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(images, "crops_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        imported(memory_store, source, skip_unreadable=True)
    manifest, numbers = imported(memory_store, source, skip_unreadable=True)
    assert numbers == [n for n in range(40) if n % 5]
    assert [(part.what, part.count) for part in manifest.left_out] == [("files", 8)]


def test_a_damaged_member_of_a_zip_is_left_out(memory_store, tmp_path):
    path = laid("zip", tmp_path / "source", {f"{n}.png": picture(n) for n in range(12)})
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        data[data.index(b"IDAT") + 40] ^= 0xFF
        file.seek(0)
        file.write(data)
    with pytest.raises(DataError, match=r"png in .* is cut off or damaged: Bad CRC.*skip_unread"):
        imported(memory_store, path)
    manifest, numbers = imported(memory_store, path, skip_unreadable=True)
    assert (len(numbers), manifest.left_out[0].count) == (11, 1)


def test_a_source_of_nothing_else_is_refused(memory_store, tmp_path):
    source = laid("folder", tmp_path / "source", {"a.png": b"", "b.png": b""})
    with pytest.raises(DataError, match=r"all 2 pictures .* are refused"):
        imported(memory_store, source, skip_unreadable=True)
