"""Dataset `images`: crops of a folder of the user's own pictures, split by file."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

import fsspec
import numpy as np
from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.data.manifest import DatasetName, Manifest
from flowkd.data.pictures import grid_crops, read_picture
from flowkd.data.seeding import derive_seed
from flowkd.data.splits import draw_fractions
from flowkd.data.writing import Arrays, write_dataset
from flowkd.errors import DataError
from flowkd.store import Store

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class ImagesConfig(Config):
    """Crops of pictures; all crops of one file are in one split.

    Attributes:
        source: A folder, or any fsspec URL, searched with all its subfolders.
        crop: Side of a crop, in pixels.
        mode: `center`: one crop a picture; `random`: `crops` of them, which may overlap; `grid`:
            all that lie side by side.
        crops: Random crops of each picture.
        resize: Scales every picture to this shorter side, in pixels, before it is cropped.
        channels: 3 for colour, 1 for grey.
        labels: Whether the first subfolder's name is stored as the class, the context.
        val_fraction: Share of the files; test_fraction likewise.
        seed: Seed of the split, the random crops and the order.
    """

    kind: Literal["images"] = "images"
    source: str = Field(min_length=1)
    name: DatasetName
    crop: int = Field(32, ge=1)
    mode: Literal["center", "random", "grid"] = "center"
    crops: int = Field(1, ge=1)
    resize: int | None = Field(None, ge=1)
    channels: Literal[1, 3] = 3
    labels: bool = False
    val_fraction: float = Field(0.1, gt=0, lt=1)
    test_fraction: float = Field(0.1, gt=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> ImagesConfig:
        if self.resize is not None and self.resize < self.crop:
            raise ValueError(f"expected resize of at least crop {self.crop}; got {self.resize}")
        if self.crops > 1 and self.mode != "random":
            raise ValueError(f"crops={self.crops} goes with mode: random; got mode {self.mode!r}")
        return self


def prepare(config: ImagesConfig, store: Store) -> Manifest:
    """Writes the dataset and returns its manifest.

    Raises:
        DataError: The folder is missing, has no pictures or too few, or a picture is unreadable,
            truncated, too large, smaller than the crop, or (with labels) in no subfolder.
    """
    fs, files = _find(config.source)
    classes = _classes(files, config) if config.labels else None
    names = sorted(set(classes)) if classes else None
    chosen = draw_fractions(
        len(files),
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
        what=f"pictures in {config.source}",
    )
    splits = {}
    for split, numbers in chosen.items():
        crops = []
        for number in numbers:
            path, relative = files[number]
            pixels = read_picture(
                fs.cat_file(path),
                f"{relative} in {config.source}",
                channels=config.channels,
                shorter_side=config.resize,
            )
            crops.append(_crop(pixels, relative, config))
        rows = np.concatenate(crops)
        order = np.random.default_rng(derive_seed(config.seed, f"images/{split}"))
        shuffle = order.permutation(len(rows))
        context = None
        if classes and names:
            labels = [names.index(classes[number]) for number in numbers]
            context = np.repeat(np.array(labels, np.int64), [len(crop) for crop in crops])[shuffle]
        splits[split] = Arrays(rows[shuffle], context)
    return write_dataset(
        store,
        config.name,
        splits,
        kind="image",
        bins=256,
        classes=len(names) if names else None,
        class_names=names,
        source=f"{len(files)} pictures of {config.source}",
        config=config.model_dump(mode="json"),
    )


def _find(folder: str) -> tuple[fsspec.AbstractFileSystem, list[tuple[str, str]]]:
    """Returns the filesystem and each picture's path, whole and relative, in order."""
    fs, root = fsspec.core.url_to_fs(folder)
    if not fs.isdir(root):
        raise DataError(
            f"no folder {folder!r}; expected one with pictures, or an fsspec URL of one"
        )
    prefix = root.rstrip("/") + "/"
    paths = [(path, path.removeprefix(prefix)) for path in sorted(fs.find(root))]
    files = [
        (path, relative)
        for path, relative in paths
        if PurePosixPath(relative).suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in PurePosixPath(relative).parts)
    ]
    if not files:
        raise DataError(
            f"no pictures in {folder!r} among its {len(paths)} files; looked for names that end "
            f"in {', '.join(SUFFIXES)}"
        )
    return fs, files


def _classes(files: list[tuple[str, str]], config: ImagesConfig) -> list[str]:
    for _, relative in files:
        if "/" not in relative:
            raise DataError(
                f"{relative} lies directly in {config.source}; with labels, expected every picture "
                f"in a subfolder named after its class; move it, or set labels: false"
            )
    return [relative.split("/")[0] for _, relative in files]


def _crop(pixels: np.ndarray, name: str, config: ImagesConfig) -> np.ndarray:
    _, height, width = pixels.shape
    crop = config.crop
    if min(height, width) < crop:
        raise DataError(
            f"{name} in {config.source} is smaller than the crop: expected at least {crop}x{crop} "
            f"pixels; got {width}x{height}; set resize: {crop} to scale pictures, or lower crop"
        )
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
