"""What the five tables of density estimation share: config, splits, checks, and writing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from flowkd.data.checks.options import Remedies
from flowkd.data.checks.remarks import remarks_on
from flowkd.data.importers.density.archive import ADDRESS
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.manifest import SPLITS, Manifest
from flowkd.data.seeds import derive_seed
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store


class DensityConfig(ImporterConfig):
    """One of the tables of Masked Autoregressive Flow, prepared as its authors did.

    Attributes:
        source: Their archive data.tar.gz, the folder that it was unpacked to, the data set's own
            folder, or its file; on any fsspec URL.
        name: Name of the data set in the store; default its kind.
        seed: Seed of the order of the train rows, default 0; the split and the values are the
            authors'.
    """

    kind: str
    source: str = Field(min_length=1)
    name: DatasetName
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class PublishedTable:
    """What the literature says of a table.

    Attributes:
        title: Name of the table in papers.
        columns: Number of columns of x.
        rows: Number of rows of train, val and test.
        values: How the stored numbers were made, in words.
        dependence: Why its rows are not independent, as half a sentence; default they are. Which
            of them belong together is not published.
    """

    title: str
    columns: int
    rows: tuple[int, int, int]
    values: str
    dependence: str = ""


def last_tenth(x: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns all rows but the last tenth, and the last tenth, rounded down.

    Raises:
        DataError: That leaves no row.
    """
    count = int(0.1 * len(x))
    if count == 0:
        raise DataError(f"expected at least 10 rows to take a tenth of in {where}; got {len(x)}")
    return x[:-count], x[-count:]


def standardised(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns (x - mean) / scale; constant columns become NaN, which `write_table` refuses."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((x - mean) / scale)


def standardised_tenths(x: np.ndarray, where: str) -> dict[str, np.ndarray]:
    """Returns train, val and test, a tenth each of what is left, by mean and scale of the two."""
    rest, test = last_tenth(x, where)
    mean, scale = rest.mean(axis=0), rest.std(axis=0)
    train, val = last_tenth(rest, where)
    splits = {"train": train, "val": val, "test": test}
    return {split: standardised(rows, mean, scale) for split, rows in splits.items()}


def write_table(
    config: DensityConfig,
    store: Store,
    published: PublishedTable,
    splits: Mapping[str, np.ndarray],
    columns: Sequence[str],
) -> Manifest:
    """Writes the prepared rows (N, D) of each split, as float32, and returns the manifest.

    Train rows are shuffled, val and test keep the authors' order. Where the numbers of rows are not
    the published ones, a remark says so. Their columns are remarked as those of any table.

    Raises:
        DataError: D is not the published one, a split has no rows, or a column is constant, NaN or
            infinite.
    """
    if len(columns) != published.columns:
        raise DataError(
            f"expected {published.columns} columns of {published.title} in {config.source}; got "
            f"{len(columns)} ({', '.join(columns)}): it is not the table that the authors published"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        x = {split: splits[split].astype(np.float32) for split in SPLITS}
    _check(x, columns, f"{published.title} in {config.source}")
    mean = x["train"].mean(axis=0, dtype=np.float64)
    scale = x["train"].std(axis=0, dtype=np.float64)
    order = np.random.default_rng(derive_seed(config.seed, "order")).permutation(len(x["train"]))
    x["train"] = x["train"][order]
    return write_dataset(
        store,
        config.name,
        {split: SplitArrays(values) for split, values in x.items()},
        kind="table",
        columns=columns,
        mean=mean.tolist(),
        scale=scale.tolist(),
        remarks=[
            *_remarks(published, tuple(len(values) for values in x.values())),
            *remarks_on(splits["train"], columns, (), remedies=Remedies(told="not")),
        ],
        source=(
            f"{published.title} of {config.source}, {published.values}, by the authors of Masked "
            f"Autoregressive Flow (arXiv 1705.07057)"
        ),
        config=config.model_dump(mode="json"),
    )


def _check(splits: Mapping[str, np.ndarray], columns: Sequence[str], what: str) -> None:
    for split, x in splits.items():
        if not len(x):
            raise DataError(f"expected at least one row in split {split!r} of {what}; got none")
        faulty = [
            columns[number] for number in np.flatnonzero(~np.isfinite(x).all(axis=0)).tolist()
        ]
        if faulty:
            raise DataError(
                f"expected finite values in split {split!r} of {what}; columns "
                f"{', '.join(faulty)} have NaN or infinite ones, or were constant before they were "
                f"standardised"
            )
    constant = [
        columns[number] for number in np.flatnonzero(np.ptp(splits["train"], axis=0) == 0).tolist()
    ]
    if constant:
        raise DataError(f"expected columns of {what} that vary; constant: {', '.join(constant)}")


def _remarks(published: PublishedTable, rows: tuple[int, ...]) -> list[str]:
    found = []
    if published.dependence:
        found.append(
            f"{published.dependence}, and which belong together is not in the file: errors of "
            f"figures, which take them for independent, are too small."
        )
    if rows == published.rows:
        return found
    expected, counts = (" / ".join(f"{n:,}" for n in count) for count in (published.rows, rows))
    return [
        *found,
        f"The source is not the archive of {ADDRESS}: expected {expected} rows in train / val / "
        f"test; got {counts}. Figures of the literature do not compare.",
    ]
