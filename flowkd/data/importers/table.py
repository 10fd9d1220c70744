"""Data set `table`: the user's table, in a format of `flowkd.data.tables`, each row an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.table_checks import remarks_on
from flowkd.data.importers.table_left_out import (
    left_out_columns,
    left_out_of,
    remarks_of,
)
from flowkd.data.manifest import Manifest, random_split_by_fraction
from flowkd.data.tables.columns import (
    Column,
    check_numeric,
    check_once,
    columns_of,
    named,
    variables,
)
from flowkd.data.tables.opening import open_table
from flowkd.data.tables.rows import read_rows
from flowkd.data.tables.table import ReadOptions, Table
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

# A spread of fewer float32 steps than this is a staircase rather than a density.
MIN_STEPS = 64


class TableConfig(ImporterConfig):
    """Rows of a table of numbers, stored as float32 in data units.

    Attributes:
        source: A file, a folder of files, or a pattern such as `part-*.parquet`, on any fsspec URL:
            CSV and other text, Parquet, Arrow, .npy (its columns are called x0, x1, ...), .npz,
            HDF5, FITS or ROOT, compressed or not.
        columns: Columns of x; default all that are no index and not context_columns. The name of
            a vector stands for all its elements.
        context_columns: Columns of the context vector; default none.
        constant: Whether to `refuse` columns of x that are constant over the train split, or to
            `drop` them, which the manifest remarks; default `refuse`.
        incomplete: Whether to `refuse` a row without a value in one of these columns, or to `drop`
            it, which the manifest remarks; default `refuse`.
        missing_texts: Cells of a text that stand for no value, such as `?`, besides those that are
            empty, NA, NaN or null; default none.
        key: The table in a file of several: a path in HDF5 or ROOT, an array's name in .npz, number
            or name of a FITS extension; default the only one.
        delimiter: What separates columns of a text; a blank for any run of blanks and tabs;
            default a guess, which the manifest remarks.
        decimal: The decimal mark of a text; default a guess, which the manifest remarks.
        header: Whether the first line of a text has names; without, columns are called x0, x1, ...;
            default yes, but refused where it has numbers.
        val_fraction: Share of the rows that are val; default 0.1.
        test_fraction: Share of the rows that are test; default 0.1.
        seed: Seed of the split; default 0.
    """

    kind: Literal["table"] = "table"
    source: str = Field(min_length=1)
    name: DatasetName
    columns: list[str] | None = Field(None, min_length=1)
    context_columns: list[str] | None = Field(None, min_length=1)
    constant: Literal["refuse", "drop"] = "refuse"
    incomplete: Literal["refuse", "drop"] = "refuse"
    missing_texts: list[str] = Field(default_factory=list)
    key: str | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    decimal: Literal[".", ","] | None = None
    header: bool | None = None
    val_fraction: float = Field(0.1, gt=0, lt=1)
    test_fraction: float = Field(0.1, gt=0, lt=1)
    seed: int = Field(0, ge=0)

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest.

        Raises:
            DataError: The file is missing, unreadable or too short; a column is unknown, not
                numeric, chosen twice, or constant over the train split and not to be dropped; a
                value is missing, NaN or infinite.
        """
        with open_table(self.source, self._options()) as table:
            x_columns, context_columns = self._columns(table)
            used = [*x_columns, *context_columns]
            read = read_rows(table, used, incomplete=self.incomplete)
            left_out, remarks = left_out_of(table, used, read), remarks_of(table, used, read)
        x, context = np.split(read.values.astype(np.float32), [len(x_columns)], axis=1)
        columns = [column.name for column in x_columns]
        chosen = random_split_by_fraction(
            len(x),
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
            what=f"rows in {self.source}",
        )
        varied = _varied(x[chosen["train"]], columns, self)
        dropped = [name for name in columns if name not in varied]
        x, columns = x[:, [columns.index(name) for name in varied]], varied
        train = x[chosen["train"]]
        mean, scale = _statistics(train, columns, self.source)
        if dropped:
            left_out.append(left_out_columns("constant over the train split", dropped))
        return write_dataset(
            store,
            self.name,
            {
                split: SplitArrays(x[rows], context[rows] if context_columns else None)
                for split, rows in chosen.items()
            },
            kind="table",
            columns=columns,
            mean=mean.tolist(),
            scale=scale.tolist(),
            left_out=left_out,
            remarks=[*remarks, *remarks_on(train, columns, dropped)],
            source=f"{len(x)} rows of {self.source}",
            config=self.model_dump(mode="json"),
        )

    def _options(self) -> ReadOptions:
        return ReadOptions(
            self.key, self.delimiter, self.decimal, self.header, tuple(self.missing_texts)
        )

    def _columns(self, table: Table) -> tuple[list[Column], list[Column]]:
        """Returns the columns of x and of the context."""
        columns = columns_of(table)
        context = named(table, columns, self.context_columns or [])
        if self.columns is None:
            x = variables(table, columns, self.context_columns or [])
        else:
            x = named(table, columns, self.columns)
        check_once(table, [*x, *context])
        check_numeric(table, [*x, *context])
        return x, context


def read_text_numbers(path: str) -> tuple[list[str], np.ndarray]:
    """Returns the names of a table's columns, and their values (N, D) in float64.

    Raises:
        DataError: As `TableConfig.write`.
    """
    with open_table(path) as table:
        columns = variables(table, columns_of(table), [])
        check_once(table, columns)
        check_numeric(table, columns)
        read = read_rows(table, columns, stored=np.float64)
    return [column.name for column in columns], read.values


def _varied(train: np.ndarray, columns: Sequence[str], config: TableConfig) -> list[str]:
    """Returns the columns that are not constant over the train split."""
    varied = [name for name, column in zip(columns, train.T, strict=True) if np.ptp(column) > 0]
    if not varied or (len(varied) < len(columns) and config.constant == "refuse"):
        constant = [name for name in columns if name not in varied]
        raise DataError(
            f"{config.source} has columns that are constant over the train split, so "
            f"that their density is infinite: {', '.join(constant)}; choose others by `columns`"
            + ("" if not varied else ", or leave them out by `constant: drop`")
        )
    return varied


def _statistics(
    train: np.ndarray, columns: Sequence[str], path: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation (D,) of the train split, none of them 0."""
    mean = train.mean(axis=0, dtype=np.float64)
    scale = train.std(axis=0, dtype=np.float64)
    steps = np.spacing(np.abs(train).max(axis=0))
    for number, name in enumerate(columns):
        if scale[number] < MIN_STEPS * steps[number]:
            raise DataError(
                f"{path}, column {name!r}: a spread of {scale[number]:g} around {mean[number]:g} "
                f"is lost in float32; subtract an offset from the column, or leave it out"
            )
    return mean, scale
