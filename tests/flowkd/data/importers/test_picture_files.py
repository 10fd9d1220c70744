"""Only the accepted formats are decoded, and a header that is wrong is told in plain words."""

import io
import os
import re
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image, features

from flowkd.data.importers.picture_files import BadPictureError, inspect_picture
from flowkd.data.importers.pictures import read_picture
from tests.support.picture_files import encoded, noise, png

REPOSITORY = Path(__file__).parents[4]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"


def other_formats():
    image = Image.fromarray(noise(32, 32, 3))
    kinds = ["gif", "ppm", "pcx", "tga", "ico", "eps", "pdf", "sgi", "im", "dds", "spider", "msp"]
    kinds += [kind for kind, needs in (("jpeg2000", "jpg_2000"), ("avif", "avif"))
              if features.check(needs)]  # fmt: skip
    for kind in kinds:
        mode = {"spider": "F", "msp": "1"}.get(kind, "RGB")
        yield pytest.param(encoded(image.convert(mode), kind), id=kind)


@pytest.mark.parametrize("data", other_formats())
def test_no_other_format_is_decoded(data):
    with pytest.raises(BadPictureError, match=r"a cannot be read as a picture: .* expected BMP"):
        read_picture(data, "a")


def test_postscript_runs_no_program(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    with pytest.raises(BadPictureError, match="it seems to be PostScript"):
        read_picture(POSTSCRIPT, "x.png")
    assert not ran.exists()
    with pytest.raises(OSError), Image.open(io.BytesIO(POSTSCRIPT)) as opened:
        opened.load()
    assert ran.exists()  # else the test could not fail


def test_pictures_are_opened_in_one_place():
    opening = {
        str(path.relative_to(REPOSITORY))
        for folder in ("flowkd", "cluster", "jobs", "tuning")
        for path in (REPOSITORY / folder).rglob("*.py")
        if re.search(r"\bImage\.open\(|\bImageFile\.Parser\(", path.read_text())
    }
    assert opening == {"flowkd/data/importers/picture_files.py"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a is empty; replace or remove it"),
        (b"<!DOCTYPE html><title>404</title>", "it seems to be HTML or XML"),
        (b"<svg xmlns='...'/>", "it seems to be an SVG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\0\1\2\3", "it is of no known kind"),
        (b"\x89PNG\r\n\x1a\n", "it begins as a PNG, and goes on wrongly"),
        (b"\xff\xd8\xff", "it begins as a JPEG, and goes on wrongly"),
    ],
)
def test_what_is_no_picture_is_told_what_it_seems_to_be(data, message):
    with pytest.raises(BadPictureError) as error:
        inspect_picture(io.BytesIO(data), "a")
    assert message in str(error.value)
    assert "0x" not in str(error.value)
    assert str(error.value).isprintable()


def test_a_header_is_read_without_the_pixels():
    data = png(noise(300, 200, 3), 8, 2)
    found = inspect_picture(io.BytesIO(data[:100]), "a")
    assert (found.width, found.height) == (200, 300)
    with pytest.raises(BadPictureError, match="truncated"):
        read_picture(data[:100], "a")
