"""Decodes picture files to pixels (C, H, W), and cuts a grid of crops."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile, ImageOps

from flowkd.data.importers.picture_files import (
    MAX_FRAME_PIXELS,
    BadPictureError,
    check_pixels,
    grey_levels,
    noted_warnings,
    open_picture,
)
from flowkd.data.notes import Notes

# Topics of notes about pictures that are taken.
FRAMES, COMPOSITED, COLOURS = "frames", "composited", "colours"
GAMMA = 0.45455  # of sRGB


def read_picture(
    data: bytes, name: str, *, channels: int = 3, shorter_side: int | None = None
) -> np.ndarray:
    """Returns a picture as (C, H, W) uint8, turned upright as its EXIF data say.

    Args:
        data: The file's bytes.
        name: What error messages call it.
        channels: 3 for RGB, 1 for grey.
        shorter_side: Number of pixels that the shorter side is scaled to; default as it is.

    Raises:
        BadPictureError: The file is unreadable or truncated, has more than MAX_PIXELS pixels, as
            it is or once scaled, more than 8 bits a channel, transparent pixels, or more frames
            than one.
    """
    notes = Notes()
    frames = read_frames(data, name, notes, channels=channels, shorter_side=shorter_side)
    (pixels,) = frames
    if notes.count(FRAMES):
        count = notes.count(FRAMES) + 1
        problem = f"has {count} pages or frames; expected one"
        raise BadPictureError(
            name, problem, "save each as a picture of its own", "of several frames"
        )
    return pixels


def read_frames(
    data: bytes,
    name: str,
    notes: Notes,
    *,
    channels: int = 3,
    shorter_side: int | None = None,
    background: str | None = None,
    every: bool = False,
) -> Iterator[np.ndarray]:
    """Yields the first frame of a file, or every one, as (C, H, W) uint8, turned upright.

    Args:
        data: The file's bytes.
        name: What error messages and notes call it.
        notes: Takes what was left out or changed.
        channels: 3 for RGB, 1 for grey.
        shorter_side: Number of pixels that the shorter side is scaled to; default as it is.
        background: Colour that transparent pixels are laid over; default none, they are refused.
        every: Whether all frames come; default False.

    Raises:
        BadPictureError: As `read_picture` does, or there are too many frames.
    """
    with open_picture(io.BytesIO(data), name, notes) as picture:
        with noted_warnings(name, notes):
            numbers = _frames(picture, name, notes, every)
        for number in numbers:
            with noted_warnings(name, notes):
                if number:
                    picture.seek(number)
                    check_pixels(picture.size, name)
                else:
                    _note_colours(picture, name, notes)
                image, laid = _converted(picture, name, channels, background)
            if laid:
                notes.add(COMPOSITED, str(background), name)
            yield _pixels(image, name, channels, shorter_side)


def _frames(picture: ImageFile.ImageFile, name: str, notes: Notes, every: bool) -> range:
    """Returns the numbers of the frames to take, and notes those that are left out."""
    count = getattr(picture, "n_frames", 1)
    if every and count * picture.width * picture.height > MAX_FRAME_PIXELS:
        problem = f"is refused: {count} frames of {picture.width}x{picture.height} pixels"
        remedy = f"expected at most {MAX_FRAME_PIXELS} pixels in all; divide it"
        raise BadPictureError(name, problem, remedy, "of too many pixels")
    if not every and count > 1:
        notes.add(FRAMES, "beyond the first", name, count - 1)
    return range(count if every else 1)


def _converted(
    picture: ImageFile.ImageFile, name: str, channels: int, background: str | None
) -> tuple[Image.Image, bool]:
    """Returns a frame in RGB or grey, and whether it was laid over the background."""
    mode = "RGB" if channels == 3 else "L"
    if picture.has_transparency_data:
        _scale_transparent_grey(picture)
        upright = ImageOps.exif_transpose(picture)
        rgba = upright.convert("RGBA")
        alpha = rgba.getchannel("A")
        if alpha.getextrema() != (255, 255):
            if background is None:
                problem = "has transparent pixels; expected none"
                remedy = "lay it over a colour, or set background where the import has it"
                raise BadPictureError(name, problem, remedy, "transparent")
            ground = Image.new("RGB", rgba.size, background)
            ground.paste(rgba.convert("RGB"), mask=alpha)
            return ground.convert(mode), True
        upright.info.pop("transparency", None)
        return upright.convert(mode), False
    return ImageOps.exif_transpose(picture).convert(mode), False


def _scale_transparent_grey(picture: ImageFile.ImageFile) -> None:
    """Scales the transparent level of a grey PNG as its pixels are, which Pillow does not do."""
    level = picture.info.get("transparency")
    factor = grey_levels(picture)
    if isinstance(level, int) and level * factor <= 255:
        picture.info["transparency"] = level * factor


def _note_colours(picture: ImageFile.ImageFile, name: str, notes: Notes) -> None:
    profile = picture.info.get("icc_profile") or b""
    if picture.mode == "CMYK":
        notes.add(COLOURS, "CMYK", name)
    elif profile and b"sRGB" not in profile.replace(b"\0", b""):  # its names may be UTF-16
        notes.add(COLOURS, "a colour profile", name)
    elif not profile and abs(picture.info.get("gamma", GAMMA) - GAMMA) > 0.01:
        notes.add(COLOURS, "a gamma", name)


def _pixels(image: Image.Image, name: str, channels: int, shorter_side: int | None) -> np.ndarray:
    if shorter_side is not None:
        size = scaled_size(image.size, shorter_side, name)
        image = image.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.uint8)
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1))


def scaled_size(size: tuple[int, int], shorter_side: int, name: str) -> tuple[int, int]:
    """Returns width and height once the shorter one is scaled; BadPictureError if too large."""
    factor = shorter_side / min(size)
    scaled = (round(size[0] * factor), round(size[1] * factor))
    check_pixels(scaled, f"{name} scaled to a shorter side of {shorter_side}")
    return scaled


def grid_crops(pixels: np.ndarray, crop: int, stride: int) -> np.ndarray:
    """Returns the crops (N, C, crop, crop) of pixels (C, H, W) at every multiple of the stride."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (crop, crop), axis=(1, 2))
    grid = windows[:, ::stride, ::stride].transpose(1, 2, 0, 3, 4)
    return grid.reshape(-1, len(pixels), crop, crop)
