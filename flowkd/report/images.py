"""Grids of pictures, and PNG files of them."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

GUTTER = 1
GUTTER_LEVEL = 255


def picture_grid(pictures: np.ndarray, bins: int) -> np.ndarray:
    """Lays pictures out in a nearly square grid, row by row, one pixel apart.

    Args:
        pictures: Integers 0..bins-1, (N, C, H, W) with 1 or 3 channels.
        bins: Number of values of a pixel, which are scaled to 0..255.

    Returns:
        uint8, (height, width) or (height, width, 3).

    Raises:
        ValueError: Another shape, or no pictures.
    """
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or not len(pictures):
        raise ValueError(f"expected pictures (N, 1 or 3, H, W); got shape {pictures.shape}")
    count, channels, height, width = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    size = (rows * (height + GUTTER) - GUTTER, columns * (width + GUTTER) - GUTTER, channels)
    grid = np.full(size, GUTTER_LEVEL, np.uint8)
    levels = np.rint(pictures.astype(np.float32) * (255 / (bins - 1))).astype(np.uint8)
    for place, picture in enumerate(levels):
        top, left = (place // columns) * (height + GUTTER), (place % columns) * (width + GUTTER)
        grid[top : top + height, left : left + width] = picture.transpose(1, 2, 0)
    return grid if channels == 3 else grid[:, :, 0]


def encode_png(picture: np.ndarray) -> bytes:
    """Returns a uint8 picture, (height, width) or (height, width, 3), as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="png")
    return file.getvalue()
