"""Decodes picture files to pixels (C, H, W), and cuts a grid of crops."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from flowkd.errors import DataError

MAX_PIXELS = 2**26
EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")


def read_picture(
    data: bytes, name: str, *, channels: int = 3, shorter_side: int | None = None
) -> np.ndarray:
    """Returns a picture as (C, H, W) uint8, turned upright as its EXIF data say.

    Args:
        data: The file's bytes.
        name: What error messages call it.
        channels: 3 for RGB, 1 for grey; transparency is dropped.
        shorter_side: Number of pixels that the shorter side is scaled to; default as it is.

    Raises:
        DataError: The file is unreadable or truncated, has more than MAX_PIXELS pixels, as it
            is or once scaled, or more than 8 bits a channel.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as opened:
                _check_pixels(opened.size, name)
                if opened.mode not in EIGHT_BITS:
                    raise DataError(
                        f"expected 8 bits a channel in {name}; got Pillow mode {opened.mode!r}; "
                        f"convert the picture to 8 bits"
                    )
                picture = ImageOps.exif_transpose(opened).convert("RGB" if channels == 3 else "L")
        except Image.DecompressionBombError as error:
            raise DataError(
                f"{name} is refused: {error}; expected at most {MAX_PIXELS} pixels"
            ) from error
        except DataError:
            raise
        except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
            raise DataError(
                f"{name} cannot be read as a picture, or is truncated: {error}; "
                f"replace or remove it"
            ) from error
    if shorter_side is not None:
        factor = shorter_side / min(picture.size)
        size = (round(picture.width * factor), round(picture.height * factor))
        _check_pixels(size, f"{name} scaled to a shorter side of {shorter_side}")
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, dtype=np.uint8)
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1))


def grid_crops(pixels: np.ndarray, crop: int, stride: int) -> np.ndarray:
    """Returns the crops (N, C, crop, crop) of pixels (C, H, W) at every multiple of the stride."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (crop, crop), axis=(1, 2))
    grid = windows[:, ::stride, ::stride].transpose(1, 2, 0, 3, 4)
    return grid.reshape(-1, len(pixels), crop, crop)


def _check_pixels(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"{name} is refused: {size[0]}x{size[1]} pixels; expected at most {MAX_PIXELS}; "
            f"scale it down before"
        )
