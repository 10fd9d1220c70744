"""Data set `table`: the user's CSV, Parquet or .npy, each row an example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import Field

from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.table_checks import remarks_on
from flowkd.data.manifest import Manifest, random_split_by_fraction
from flowkd.data.npy import read_npy
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

SUFFIXES = (".csv", ".npy", ".parquet")
# A spread of fewer float32 steps than this is a staircase rather than a density.
MIN_STEPS = 64


class TableConfig(ImporterConfig):
    """Rows of a table of numbers, stored as float32 in data units.

    Attributes:
        source: A file, or any fsspec URL, that ends in .csv, .parquet or .npy (2-D; its columns are
            called x0, x1, ...).
        columns: Columns of x; default all that are not context_columns.
        context_columns: Columns of the context vector; default none.
        constant: Whether to `refuse` columns of x that are constant over the train split, or to
            `drop` them, which the manifest remarks; default `refuse`.
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
        table = _read(self.source)
        context_columns = self.context_columns or []
        columns = self.columns
        if columns is None:
            columns = [name for name in table.column_names if name not in context_columns]
            if not columns:
                raise DataError(f"{self.source} has no columns for x besides {context_columns}")
        _check_columns(table, [*columns, *context_columns], self.source)
        chosen = random_split_by_fraction(
            table.num_rows,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
            what=f"rows in {self.source}",
        )
        x = _matrix(table, columns, self.source)
        context = _matrix(table, context_columns, self.source) if context_columns else None
        varied = _varied(x[chosen["train"]], columns, self)
        dropped = [name for name in columns if name not in varied]
        x, columns = x[:, [columns.index(name) for name in varied]], varied
        train = x[chosen["train"]]
        mean, scale = _statistics(train, columns, self.source)
        return write_dataset(
            store,
            self.name,
            {
                split: SplitArrays(x[rows], None if context is None else context[rows])
                for split, rows in chosen.items()
            },
            kind="table",
            columns=columns,
            mean=mean.tolist(),
            scale=scale.tolist(),
            remarks=remarks_on(train, columns, dropped),
            source=f"{len(x)} rows of {self.source}",
            config=self.model_dump(mode="json"),
        )


def read_text_numbers(path: str) -> tuple[list[str], np.ndarray]:
    """Returns the names of a table's columns, and their values (N, D) in float64.

    Raises:
        DataError: As `TableConfig.write`.
    """
    table = _read(path)
    _check_columns(table, table.column_names, path)
    return table.column_names, _matrix(table, table.column_names, path, np.float64)


def _read(path: str) -> pa.Table:
    suffix = PurePosixPath(path.partition("?")[0] if "://" in path else path).suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"expected a table that ends in {', '.join(SUFFIXES)}; got {path!r}")
    try:
        with fsspec.open(path, "rb") as file:
            if suffix == ".csv":
                return _with_header(pa.csv.read_csv(file), path)
            if suffix == ".parquet":
                return pq.read_table(file)
            return _from_array(read_npy(file.read(), path))
    except FileNotFoundError as error:
        raise DataError(f"no file {path!r}; expected a table") from error
    except (pa.ArrowException, ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be read as {suffix[1:]}: {error}") from error


def _with_header(table: pa.Table, path: str) -> pa.Table:
    if all(_is_number(name) for name in table.column_names):
        raise DataError(
            f"expected a header of column names in the first line of {path}; got numbers: "
            f"{', '.join(table.column_names[:5])}; add a line of names"
        )
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_array(array: np.ndarray) -> pa.Table:
    columns = array.astype(np.float64).T
    return pa.table({f"x{number}": pa.array(column) for number, column in enumerate(columns)})


def _check_columns(table: pa.Table, chosen: Sequence[str], path: str) -> None:
    known = ", ".join(table.column_names)
    for name in chosen:
        if chosen.count(name) > 1 or table.column_names.count(name) > 1:
            raise DataError(f"expected each column of {path} once; got more than one {name!r}")
    unknown = [name for name in chosen if name not in table.column_names]
    if unknown:
        raise DataError(f"{path} has no column {', '.join(unknown)}; expected some of: {known}")
    texts = [name for name in chosen if not _is_numeric(table.schema.field(name).type)]
    if texts:
        found = ", ".join(f"{name} ({table.schema.field(name).type})" for name in texts)
        raise DataError(
            f"{path} has columns that are not numeric: {found}; choose others by `columns`"
        )


def _is_numeric(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def _matrix(
    table: pa.Table, columns: Sequence[str], path: str, dtype: type[np.floating[Any]] = np.float32
) -> np.ndarray:
    """Returns the columns as (N, D), every value finite."""
    matrix = np.empty((table.num_rows, len(columns)), dtype)
    for number, name in enumerate(columns):
        values = table[name].cast(pa.float64(), safe=False).to_numpy()
        with np.errstate(over="ignore"):
            matrix[:, number] = values
        faulty = np.flatnonzero(~np.isfinite(matrix[:, number]))
        if len(faulty):
            row = int(faulty[0])
            value = table[name][row].as_py()
            found = "no value" if value is None else value
            raise DataError(
                f"{path}, row {row + 1} (from 1, without a header), column {name!r}: expected a "
                f"finite {matrix.dtype}; got {found}; {len(faulty)} "
                f"such rows: correct or remove them"
            )
    return matrix


def _varied(train: np.ndarray, columns: Sequence[str], config: TableConfig) -> list[str]:
    """Returns the columns that are not constant over the train split."""
    varied = [name for name, column in zip(columns, train.T, strict=True) if np.ptp(column) > 0]
    if not varied or (len(varied) < len(columns) and config.constant == "refuse"):
        constant = [name for name in columns if name not in varied]
        raise DataError(
            f"{config.source} has columns that are constant over the train split, so that their "
            f"density is infinite: {', '.join(constant)}; choose others by `columns`"
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
