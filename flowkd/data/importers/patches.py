"""Data set `patches`: grey 8x8 patches of the photos as 63 numbers, prepared as BSDS300 is."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.photos import TILE, photographs, tiles
from flowkd.data.importers.pictures import grid_crops
from flowkd.data.manifest import SPLITS, Manifest
from flowkd.data.seeds import derive_seed
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.names import DatasetName
from flowkd.store.store import Store

SIDE = 8
LUMA = np.array([0.299, 0.587, 0.114])


class PatchesConfig(ImporterConfig):
    """Grey patches of the photographs, split by tiles as the dataset `photos` is, a tile a group.

    Attributes:
        stride: Distance of neighbouring train patches, in pixels, default 4; patches of val and
            test never overlap.
        train_limit: Most train patches; default all.
        val_limit: Most val patches; default all.
        test_limit: Most test patches; default all.
        seed: Seed of the split, the order and the noise; default 0.
    """

    kind: Literal["patches"] = "patches"
    name: DatasetName = "patches"
    stride: int = Field(4, ge=1, le=TILE)
    train_limit: int | None = Field(None, ge=1)
    val_limit: int | None = Field(None, ge=1)
    test_limit: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; raises DataError without the packages.

        Brightness and uniform noise, over 256, less the patch's own mean; the last pixel, which the
        others then determine, is dropped.
        Source: Masked Autoregressive Flow, 2017, https://arxiv.org/abs/1705.07057, appendix D.
        """
        crops: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        groups: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        for number, (split, tile) in enumerate(tiles(photographs(), self.seed)):
            grey = np.rint(np.einsum("chw,c->hw", tile, LUMA))[None]
            crops[split].append(grid_crops(grey, SIDE, self.stride if split == "train" else SIDE))
            groups[split].append(np.full(len(crops[split][-1]), number))
        limits = {"train": self.train_limit, "val": self.val_limit, "test": self.test_limit}
        splits = {}
        for split in SPLITS:
            rng = np.random.default_rng(derive_seed(self.seed, f"patches/{split}"))
            grey = np.concatenate(crops.pop(split)).reshape(-1, SIDE * SIDE)
            chosen = rng.permutation(len(grey))[: limits[split]]
            grey, group = grey[chosen], np.concatenate(groups[split])[chosen]
            values = (grey + rng.random(grey.shape)) / 256
            values -= values.mean(axis=1, keepdims=True)
            splits[split] = SplitArrays(values[:, :-1].astype(np.float32), group=group)
        train = splits["train"].x
        return write_dataset(
            store,
            self.name,
            splits,
            kind="table",
            group="tile",
            columns=[f"pixel{number}" for number in range(SIDE * SIDE - 1)],
            mean=train.mean(axis=0, dtype=np.float64).tolist(),
            scale=train.std(axis=0, dtype=np.float64).tolist(),
            source=(
                "grey patches of the photographs inside the scikit-image and scikit-learn wheels"
            ),
            config=self.model_dump(mode="json"),
        )
