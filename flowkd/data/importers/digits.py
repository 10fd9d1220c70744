"""Data set `digits`: scikit-learn's 1797 handwritten digits, 8x8 pixels of 17 bins."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.manifest import Manifest, random_split
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

VAL_ROWS, TEST_ROWS = 250, 347


class DigitsConfig(ImporterConfig):
    """Handwritten digits, with their classes as the context.

    Attributes:
        labels: Whether the class of each digit is stored as its context; default True.
        seed: Seed of the split; default 0.
    """

    kind: Literal["digits"] = "digits"
    name: DatasetName = "digits"
    labels: bool = True
    seed: int = Field(0, ge=0)

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; raises DataError without scikit-learn."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise DataError(
                "the digits dataset needs the package 'sklearn', which is not installed; "
                "pip install flowkd[photos]"
            ) from error
        digits = load_digits()
        x = digits.images.astype(np.uint8)[:, None]
        classes = digits.target.astype(np.int64)
        rows = random_split(len(x), val=VAL_ROWS, test=TEST_ROWS, seed=self.seed)
        return write_dataset(
            store,
            self.name,
            {
                split: SplitArrays(x[chosen], classes[chosen] if self.labels else None)
                for split, chosen in rows.items()
            },
            kind="image",
            bins=17,
            classes=10 if self.labels else None,
            source="scikit-learn's load_digits: UCI handwritten digits, their test set",
            config=self.model_dump(mode="json"),
        )
