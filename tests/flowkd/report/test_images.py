"""Grids of pictures: where each lies, and in which levels."""

import io

import numpy as np
import pytest
from PIL import Image

from flowkd.report.images import encode_png, picture_grid


@pytest.mark.parametrize(("channels", "n", "size"), [(3, 5, (26, 17)), (1, 1, (8, 8))])
def test_pictures_lie_in_a_nearly_square_grid(channels, n, size):
    pictures = np.arange(n, dtype=np.uint8)[:, None, None, None] + np.zeros((channels, 8, 8))
    grid = picture_grid(pictures, bins=6)
    width, height = size
    assert grid.shape == ((height, width, 3) if channels == 3 else (height, width))
    for i in range(n):
        top, left = i // 3 * 9, i % 3 * 9
        assert (grid[top : top + 8, left : left + 8] == i * 51).all()
    if n > 1:
        assert (grid[8] == 255).all()
        assert (grid[:, 8] == 255).all()
    with Image.open(io.BytesIO(encode_png(grid))) as image:
        assert image.size == size
        assert image.mode == ("RGB" if channels == 3 else "L")
