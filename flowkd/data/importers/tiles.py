"""Tiles: large squares of pictures, by which few pictures are split so that each split has many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flowkd.data.importers.pictures import grid_crops
from flowkd.data.seeds import derive_seed

CROPS_A_SIDE = 4  # of a tile


def tiles_of(
    tiles: np.ndarray, crop: int, name: str, shares: tuple[float, float], seed: int
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yields the split of each tile of a picture, its number in it, and its crops.

    No two splits share a pixel. Tiles of one picture are alike, too, but are in all splits: errors
    over tiles are those of other tiles of these pictures, not of other pictures.

    Args:
        tiles: (N, C, S, S) uint8, S of CROPS_A_SIDE crops.
        crop: Side of a crop, in pixels.
        name: Of the picture, from which the splits are drawn.
        shares: Of val and of test.
        seed: Of the split.
    """
    draws = np.random.default_rng(derive_seed(seed, f"images/tiles/{name}")).random(len(tiles))
    val, test = shares
    for number, (tile, draw) in enumerate(zip(tiles, draws, strict=True)):
        split = "test" if draw < test else "val" if draw < test + val else "train"
        yield split, number, grid_crops(tile, crop, crop)
