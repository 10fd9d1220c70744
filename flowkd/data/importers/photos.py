"""Data set `photos`: crops of the colour photographs inside the scikit-image and -learn wheels."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.pictures import grid_crops, read_picture
from flowkd.data.manifest import SPLITS, Manifest
from flowkd.data.seeds import derive_seed
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

TILE = 64
FLAT = 4.0
VAL_SHARE, TEST_SHARE = 0.10, 0.15

# Files, because skimage.data's functions may ask for pooch and the network.
FILES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "hubble_deep_field": ("skimage", "data/hubble_deep_field.jpg"),
    "immunohistochemistry": ("skimage", "data/ihc.png"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "stereo_motorcycle": ("skimage", "data/motorcycle_left.png"),
}


class PhotosConfig(ImporterConfig):
    """Crops of photographs, split by 64x64 tiles so that no two splits share a pixel.

    The crops of a tile are one group. Tiles of one photograph are alike, too, but are in all
    splits: errors over tiles are those of other tiles of these photographs, not of other
    photographs.

    Attributes:
        crop: Side of a crop, in pixels; default 32.
        stride: Distance of neighbouring train crops, in pixels; default half a crop. Crops of
            val and test never overlap.
        train_limit: Most train crops; default all.
        val_limit: Most val crops; default all.
        test_limit: Most test crops; default all.
        seed: Seed of the split, which does not depend on crop, and of the order; default 0.
    """

    kind: Literal["photos"] = "photos"
    name: DatasetName = "photos"
    crop: int = Field(32, ge=4, le=TILE, multiple_of=2)
    stride: int | None = Field(None, ge=1)
    train_limit: int | None = Field(None, ge=1)
    val_limit: int | None = Field(None, ge=1)
    test_limit: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; raises DataError without the packages."""
        crops: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        strides = dict.fromkeys(SPLITS, self.crop)
        strides["train"] = self.stride or self.crop // 2
        groups: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        for number, (split, tile) in enumerate(tiles(photographs(), self.seed)):
            crops[split].append(grid_crops(tile, self.crop, strides[split]))
            groups[split].append(np.full(len(crops[split][-1]), number))
        limits = {"train": self.train_limit, "val": self.val_limit, "test": self.test_limit}
        splits = {}
        for split in SPLITS:
            if not crops[split]:
                raise DataError(
                    f"seed {self.seed} leaves no photos for split {split!r}; try another"
                )
            rows = np.concatenate(crops.pop(split))
            rng = np.random.default_rng(derive_seed(self.seed, f"photos/{split}"))
            chosen = rng.permutation(len(rows))[: limits[split]]
            group = np.concatenate(groups[split])[chosen]
            splits[split] = SplitArrays(rows[chosen], group=group)
        return write_dataset(
            store,
            self.name,
            splits,
            kind="image",
            bins=256,
            group="tile",
            source=(
                f"photographs inside the scikit-image and scikit-learn wheels: {', '.join(FILES)}"
            ),
            config=self.model_dump(mode="json"),
        )


def photographs() -> dict[str, np.ndarray]:
    """Returns the photographs by name, each (3, H, W) uint8; raises DataError without them."""
    found = {}
    for name, (package, file) in FILES.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise DataError(
                f"the photos dataset needs the package {package!r}, which is not installed; "
                f"pip install flowkd[photos]"
            )
        path = Path(spec.origin).parent / file
        if not path.is_file():
            raise DataError(
                f"expected the photograph {file} inside the package {package!r}; there is none; "
                f"pip install --upgrade flowkd[photos]"
            )
        found[name] = read_picture(path.read_bytes(), str(path))
    return found


def tiles(pictures: dict[str, np.ndarray], seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the split and the pixels of every tile that is not flat."""
    rng = np.random.default_rng(derive_seed(seed, "photos/tiles"))
    for _, pixels in sorted(pictures.items()):
        for tile in grid_crops(pixels, TILE, TILE):
            draw = rng.random()  # for flat tiles too: what is flat must not move the others
            if tile.std() < FLAT:
                continue
            if draw < TEST_SHARE:
                yield "test", tile
            else:
                yield "val" if draw < TEST_SHARE + VAL_SHARE else "train", tile
