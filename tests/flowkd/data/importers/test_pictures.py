"""Pixels come out as the file has them; what is changed is noted, and what cannot be is refused."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from flowkd.data.importers import pictures
from flowkd.data.importers.picture_files import WARNED, BadPictureError
from flowkd.data.importers.pictures import (
    COLOURS,
    COMPOSITED,
    FRAMES,
    read_frames,
    read_picture,
)
from flowkd.data.notes import Notes
from tests.support.picture_files import encoded, noise, over, png, several_frames, tiff

WHITE = (255, 255, 255)
LOSSLESS = {"webp": {"lossless": True, "exact": True}}
FORMATS = ("png", "jpeg", "webp", "tiff", "bmp", "gif", "ppm")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
READ = ("png", "jpeg", "webp", "tiff", "bmp")


def frames(data, **options):
    notes = Notes()
    return list(read_frames(data, "a", notes, background="white", **options)), notes


def stored(data, channels=3):
    (pixels,), notes = frames(data, channels=channels)
    return pixels.transpose(1, 2, 0), notes


def in_mode(mode):
    """A picture of noise in a mode, of pixels that need all that the mode holds."""
    if mode in ("I;16", "I", "F"):
        return Image.fromarray(noise(6, 8).astype({"I;16": "u2", "I": "i4", "F": "f4"}[mode]) * 3)
    grey, colour = Image.fromarray(noise(6, 8)), Image.fromarray(noise(6, 8, 3))
    if mode == "PA":
        image = grey.convert("PA")
        image.putalpha(Image.fromarray(noise(6, 8, seed=1)))
        return image
    if mode in ("LA", "RGBA"):
        return Image.fromarray(noise(6, 8, len(mode)), mode)
    if mode == "LAB":
        return Image.frombytes("LAB", (8, 6), noise(6, 8, 3).tobytes())
    return (grey if mode == "L" else colour).convert(mode)


def written():
    """All files that Pillow can write, with the image that went in."""
    for mode in MODES:
        for kind in FORMATS:
            image = in_mode(mode)
            try:
                data = encoded(image, kind, **LOSSLESS.get(kind, {}))
            except (OSError, ValueError):
                continue
            yield pytest.param(mode, kind, image, data, id=f"{mode}-{kind}")


@pytest.mark.parametrize(("mode", "kind", "image", "data"), written())
def test_what_is_stored_is_what_was_written_or_it_is_refused_or_noted(mode, kind, image, data):
    opened = Image.open(io.BytesIO(data))
    if kind not in READ or opened.mode in ("I;16", "I", "F", "LAB"):
        with pytest.raises(BadPictureError, match=r"expected|another kind than bytes"):
            stored(data)
        return
    source = opened if kind == "jpeg" or image.mode in ("I;16", "I", "F", "LAB") else image
    if opened.mode == "RGB" and source.mode == "RGBA":  # BMP has dropped it
        source = source.convert("RGB")
    expected = over(np.asarray(source.convert("RGBA")), WHITE)
    pixels, notes = stored(data)
    np.testing.assert_array_equal(pixels, expected)
    transparent = np.asarray(source.convert("RGBA"))[..., 3].min() < 255
    assert (notes.count(COMPOSITED), notes.count(COLOURS)) == (transparent, opened.mode == "CMYK")


GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
DEPTHS = {
    GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}  # fmt: skip


@pytest.mark.parametrize("see_through", [False, True])
@pytest.mark.parametrize(
    ("colour", "bits"), [(colour, bits) for colour, depths in DEPTHS.items() for bits in depths]
)
def test_a_png_of_any_depth_is_what_its_standard_says_or_refused(colour, bits, see_through):
    channels = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}[colour]
    values = np.random.default_rng(0).integers(0, 2**bits, (6, 16, channels))
    values.reshape(-1, channels)[:2] = [[0], [2**bits - 1]]
    palette = noise(2**bits, 3)
    chunks = [(b"PLTE", palette.tobytes())] if colour == PALETTE else []
    key = values[0, 1]
    if see_through and colour == PALETTE:
        chunks.append((b"tRNS", bytes([255] * int(key[0]) + [100])))
    elif see_through and colour in (GREY, RGB):
        chunks.append((b"tRNS", key.astype(">u2").tobytes()))
    data = png(values, bits, colour, before=chunks)
    if bits == 16:
        with pytest.raises(BadPictureError, match="a has 16 bits a channel; expected at most 8"):
            stored(data)
        return
    alpha = np.full((6, 16, 1), 255)
    if colour in (GREY_ALPHA, RGB_ALPHA):
        alpha = values[..., -1:]
        values = values[..., :-1]
    elif see_through:
        alpha[(values == key).all(-1)] = 100 if colour == PALETTE else 0
    colours = palette[values[..., 0]] if colour == PALETTE else values * 255 // (2**bits - 1)
    rgba = np.concatenate([np.broadcast_to(colours, (6, 16, 3)), alpha], -1)
    pixels, notes = stored(data)
    np.testing.assert_array_equal(pixels, over(rgba, WHITE))
    assert notes.count(COMPOSITED) == (alpha.min() < 255)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_alpha_that_hides_nothing_changes_nothing(mode):
    opaque = in_mode({"LA": "L", "RGBA": "RGB", "PA": "P"}[mode])
    image = opaque.convert(mode)
    pixels, notes = stored(encoded(image, "tiff"))
    np.testing.assert_array_equal(pixels, np.asarray(opaque.convert("RGB")))
    assert notes.found == {}


def test_transparent_pixels_take_the_background_or_are_refused():
    data = encoded(Image.new("RGBA", (8, 8), (200, 0, 0, 0)), "png")
    (red,) = read_frames(data, "a", Notes(), background="#010203")
    assert [int(value) for value in red[:, 0, 0]] == [1, 2, 3]
    with pytest.raises(BadPictureError, match="a has transparent pixels; expected none"):
        read_picture(data, "a")


WHITE_IS_0, BLACK_IS_0, TIFF_RGB, SEPARATED = 0, 1, 2, 5
OTHER, ASSOCIATED, ALPHA = 0, 1, 2
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


@pytest.mark.parametrize("extra", [(), (OTHER,), (ALPHA,), (ALPHA, OTHER), (OTHER, OTHER)])
@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("u1", UNSIGNED), ("i1", SIGNED), ("u2", UNSIGNED), ("u4", UNSIGNED), ("f4", FLOAT)],
)
@pytest.mark.parametrize("photometric", [WHITE_IS_0, BLACK_IS_0, TIFF_RGB, SEPARATED])
def test_a_tiff_of_any_channels_is_what_its_standard_says_or_refused(
    photometric, dtype, kind, extra
):
    own = {WHITE_IS_0: 1, BLACK_IS_0: 1, TIFF_RGB: 3, SEPARATED: 4}[photometric]
    values = noise(6, 8, own + len(extra))
    data = tiff(values.astype(dtype), photometric, extra=extra, kind=kind)
    try:
        pixels, notes = stored(data)
    except BadPictureError:
        may_be_read = dtype == "u1" and extra in ((), (ALPHA,)) and photometric != SEPARATED
        assert not may_be_read or (photometric == WHITE_IS_0 and extra)
        return
    assert (dtype, extra) in (("u1", ()), ("u1", (ALPHA,)))
    colours = 255 - values[..., :own] if photometric in (WHITE_IS_0, SEPARATED) else values
    if photometric == SEPARATED:
        black = colours[..., 3:].astype(int)
        expected = colours[..., :3] * black / 255
        assert np.abs(pixels - expected).max() <= 1
        assert notes.count(COLOURS) == 1
        return
    alpha = values[..., own:] if extra else np.full((6, 8, 1), 255)
    rgb = np.broadcast_to(colours[..., :own], (6, 8, 3))
    np.testing.assert_array_equal(pixels, over(np.concatenate([rgb, alpha], -1), WHITE))
    assert notes.count(COMPOSITED) == len(extra)


def test_a_tiff_whose_palette_needs_sixteen_bits_is_refused():
    image = Image.fromarray(noise(6, 8)).convert("P")
    fine = encoded(image, "tiff")
    assert stored(fine)[0].shape == (6, 8, 3)
    opened = Image.open(io.BytesIO(fine))
    palette = np.array(opened.tag_v2[320], "<u2").tobytes()
    assert fine.count(palette) == 1
    with pytest.raises(BadPictureError, match="palette of 16 bits"):
        stored(fine.replace(palette, np.arange(768).astype("<u2").tobytes()))


@pytest.mark.parametrize("kind", ["tiff", "webp", "png", "mpo"])  # mpo: JPEG of phones
def test_frames_beyond_the_first_are_noted_or_come_in_their_order(kind):
    data = several_frames(kind)
    (first,), notes = frames(data)
    assert (first[0, 0, 0], notes.count(FRAMES)) == (40, 2)
    every, notes = frames(data, every=True)
    assert [int(frame[0, 0, 0]) for frame in every] == [40, 80, 120]
    assert notes.found == {}
    with pytest.raises(BadPictureError, match="a has 3 pages or frames; expected one"):
        read_picture(data, "a")


def test_frames_that_are_too_much_together_are_refused(monkeypatch):
    data = several_frames("tiff", size=(12, 10))
    monkeypatch.setattr(pictures, "MAX_FRAME_PIXELS", 3 * 120 - 1)
    with pytest.raises(BadPictureError, match="3 frames of 12x10 pixels"):
        frames(data, every=True)
    assert len(frames(data)[0]) == 1


def test_colours_other_than_srgb_are_noted():
    image = Image.fromarray(noise(6, 8, 3))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = srgb.replace(b"s\0R\0G\0B", b"x\0R\0G\0B")
    for data, count in (
        (encoded(image, "png", icc_profile=srgb), 0),
        (encoded(image, "png", icc_profile=other), 1),
        (png(noise(6, 8, 3), 8, RGB, before=[(b"gAMA", (45455).to_bytes(4, "big"))]), 0),
        (png(noise(6, 8, 3), 8, RGB, before=[(b"gAMA", (100000).to_bytes(4, "big"))]), 1),
    ):
        assert stored(data)[1].count(COLOURS) == count


def test_what_pillow_warns_of_is_noted():
    broken = png(noise(6, 8, 3), 8, RGB, before=[(b"acTL", bytes(8))])  # no frames
    assert stored(broken)[1].count(WARNED) == 1


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_upright(kind, turn):
    upright = np.kron(np.arange(12).reshape(3, 4) * 20, np.ones((8, 8))).astype(np.uint8)
    undo = {
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.T, 6: lambda x: np.rot90(x), 7: lambda x: np.rot90(x.T, 2),
        8: lambda x: np.rot90(x, -1),
    }[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(
        Image.fromarray(np.ascontiguousarray(undo(upright))), kind, exif=exif,
        **LOSSLESS.get(kind, {}),
    )  # fmt: skip
    pixels, _ = stored(data, channels=1)
    assert np.abs(pixels[..., 0].astype(int) - upright).max() <= 2
