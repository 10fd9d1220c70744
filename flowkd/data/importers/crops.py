"""Crops of pictures, which become rows: shared by folders, zips and tars."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from PIL import ImageColor
from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.data.importers.picture_files import SUFFIXES, BadPictureError
from flowkd.data.importers.pictures import grid_crops, read_frames, scaled_size
from flowkd.data.notes import Notes
from flowkd.data.seeds import derive_seed

MAX_PICTURE_BYTES = 2**28
CHUNK_BYTES = 2**26
CHUNK_PICTURES = 4096
GRID_PICTURES = 16  # pictures in a chunk where all crops of each are rows


class CropsConfig(Config):
    """Crops of pictures.

    Attributes:
        crop: Side of a crop, in pixels; default 32.
        mode: `center`: one crop a picture; `random`: `crops` of them, which may overlap; `grid`:
            all that lie side by side; default `center`.
        crops: Number of random crops of each picture; default 1.
        resize: Shorter side that pictures are scaled to before they are cropped, in pixels;
            default none.
        channels: 3 for colour, 1 for grey; default 3.
        frames: Of files with several pages or frames the `first`, or `all`; default `first`.
        background: Colour that transparent pixels are laid over, by name or as `#rrggbb`; null
            refuses pictures that have some; default white.
        skip_unreadable: Whether pictures that are refused, such as those that are damaged, deeper
            than 8 bits or smaller than the crop, are left out and counted; default False.
        seed: Seed of the random crops; default 0.
    """

    crop: int = Field(32, ge=1)
    mode: Literal["center", "random", "grid"] = "center"
    crops: int = Field(1, ge=1)
    resize: int | None = Field(None, ge=1)
    channels: Literal[1, 3] = 3
    frames: Literal["first", "all"] = "first"
    background: str | None = "white"
    skip_unreadable: bool = False
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> CropsConfig:
        if self.resize is not None and self.resize < self.crop:
            raise ValueError(f"expected resize of at least crop {self.crop}; got {self.resize}")
        if self.crops > 1 and self.mode != "random":
            raise ValueError(f"crops={self.crops} goes with mode: random; got mode {self.mode!r}")
        if self.background is not None:
            ImageColor.getrgb(self.background)  # its ValueError names the colour
        return self

    @property
    def several(self) -> bool:
        """Whether a picture may give more than one row."""
        return self.mode == "grid" or self.crops > 1 or self.frames == "all"


def is_picture(name: str) -> bool:
    """Tells whether a file's name ends as a picture's, and no part of its path is hidden."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Tells whether a part of a file's path begins with a dot."""
    return any(part.startswith(".") and part != ".." for part in PurePosixPath(name).parts)


def pictures_per_chunk(config: CropsConfig) -> int:
    """Returns the number of pictures whose crops are in memory at a time."""
    if config.mode == "grid" or config.frames == "all":
        return GRID_PICTURES
    size = config.crops * config.channels * config.crop**2
    return min(max(1, CHUNK_BYTES // size), CHUNK_PICTURES)


def crops_of(data: bytes, name: str, where: str, config: CropsConfig, notes: Notes) -> np.ndarray:
    """Returns the crops (N, C, crop, crop) of a picture's file.

    Args:
        data: The file's bytes.
        name: Its name in the source, from which its random crops are drawn.
        where: What error messages call it.
        config: Says which crops.
        notes: Takes what was left out of the file, or changed.

    Raises:
        BadPictureError: The picture is unreadable, too large, or smaller than the crop.
    """
    own = Notes()
    frames = read_frames(
        data,
        where,
        own,
        channels=config.channels,
        shorter_side=config.resize,
        background=config.background,
        every=config.frames == "all",
    )
    crops = []
    for number, pixels in enumerate(frames):
        if config.resize is None:
            check_size(pixels.shape[2], pixels.shape[1], where, config)
        crops.append(_cut(pixels, _seed_name(name, number), config))
    notes.merge(own, name)
    return crops[0] if len(crops) == 1 else np.concatenate(crops)


def check_size(width: int, height: int, where: str, config: CropsConfig) -> None:
    """Raises BadPictureError where a picture is smaller than the crop, or too large once scaled."""
    crop = config.crop
    if config.resize is not None:
        scaled_size((width, height), config.resize, where)
    elif min(height, width) < crop:
        raise BadPictureError(
            where,
            f"is smaller than the crop: expected at least {crop}x{crop} pixels; got "
            f"{width}x{height}",
            f"set resize: {crop} to scale pictures, or lower crop",
            "smaller than the crop",
        )


def _seed_name(name: str, frame: int) -> str:
    return f"{name}#{frame}" if frame else name


def _cut(pixels: np.ndarray, name: str, config: CropsConfig) -> np.ndarray:
    _, height, width = pixels.shape
    crop = config.crop
    if config.mode == "grid":
        return grid_crops(pixels, crop, crop)
    if config.mode == "center":
        corners = [((height - crop) // 2, (width - crop) // 2)]
    else:
        rng = np.random.default_rng(derive_seed(config.seed, f"images/crops/{name}"))
        tops = rng.integers(0, height - crop + 1, config.crops)
        lefts = rng.integers(0, width - crop + 1, config.crops)
        corners = list(zip(tops.tolist(), lefts.tolist(), strict=True))
    return np.stack([pixels[:, top : top + crop, left : left + crop] for top, left in corners])
