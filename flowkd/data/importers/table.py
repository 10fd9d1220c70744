"""Data set `table`: the user's table, in a format of `flowkd.data.tables`, each row an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from flowkd.data.checks.options import ColumnOptions
from flowkd.data.checks.prepare import check_names, prepare_columns, rows_with_values
from flowkd.data.groups import number_groups, split_by_group
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.table_context import TableContext, class_context, vector_context
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


class TableConfig(ColumnOptions, ImporterConfig):
    """Rows of a table of numbers, stored as float32 in data units.

    What is done with single columns is in ColumnOptions.

    Attributes:
        source: A file, a folder of files, or a pattern such as `part-*.parquet`, on any fsspec URL:
            CSV and other text, Parquet, Arrow, .npy (its columns are called x0, x1, ...), .npz,
            HDF5, FITS or ROOT, compressed or not.
        columns: Columns of x; default all that are no index and not used otherwise. The name of a
            vector stands for all its elements.
        context_columns: Columns of the context vector; default none.
        label_column: Column of categories, as strings, whole numbers or booleans, whose class is
            the context; default none.
        group: Column, of numbers or text, that is equal for rows which belong together and are not
            independent, such as those of one patient; it is no dimension, and the split is by its
            values; default none, each row is one of its own.
        constant: Whether to `refuse` columns of x or of the context vector that are constant over
            the train split, or to `drop` them, which the manifest remarks; default `refuse`.
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
        val_fraction: Share of the rows, or groups, that are val; default 0.1.
        test_fraction: Share of the rows, or groups, that are test; default 0.1.
        seed: Seed of the split; default 0.
    """

    kind: Literal["table"] = "table"
    source: str = Field(min_length=1)
    name: DatasetName
    columns: list[str] | None = Field(None, min_length=1)
    context_columns: list[str] | None = Field(None, min_length=1)
    label_column: str | None = None
    group: str | None = None
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

    @model_validator(mode="after")
    def _context_apart(self) -> TableConfig:
        both = [name for name in self.context_columns or () if name in (self.columns or ())]
        if both:
            raise ValueError(
                f"expected context_columns that are not among columns, which are what the density "
                f"is of; got {both[0]!r} in both: leave it out of one of them"
            )
        return self

    @model_validator(mode="after")
    def _one_context(self) -> TableConfig:
        if self.label_column is not None and self.context_columns:
            raise ValueError("expected context_columns or label_column; got both: leave one out")
        if self.label_column in (self.columns or ()):
            raise ValueError(f"expected label_column apart from columns; got {self.label_column!r}")
        return self

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest.

        Raises:
            DataError: The file is missing, unreadable or too short; a column is unknown, not
                numeric, chosen twice, or constant over the train split and not to be dropped; a
                value is missing, NaN or infinite.
        """
        with open_table(self.source, self._options()) as table:
            x_columns, context_columns, aside = self._columns(table)
            numbers = [*x_columns, *context_columns]
            read = read_rows(table, numbers, aside, incomplete=self.incomplete)
            used = [*numbers, *aside]
            left_out, remarks = left_out_of(table, used, read), remarks_of(table, used, read)
        x, exact = np.split(read.values, [len(x_columns)], axis=1)
        columns, context_names = (
            [c.name for c in chosen] for chosen in (x_columns, context_columns)
        )
        check_names(self, columns, context_names, self.source)
        kept, without_values = rows_with_values(x, columns, self, self.source)
        x, exact = x[kept], exact[kept]
        others = pa.table(read.others).take(kept) if aside else pa.table({})
        group = _groups(others, self)
        chosen = _split(group, len(x), self)
        context = self._context(exact, context_names, others, chosen)
        made = prepare_columns(
            x,
            columns,
            chosen["train"],
            self,
            self.source,
            constant=self.constant,
            row_numbers=read.row_numbers[kept],
            seed=self.seed,
        )
        dropped = [name for name in columns if name not in made.columns]
        if dropped:
            left_out.append(left_out_columns("constant over the train split", dropped))
        return write_dataset(
            store,
            self.name,
            {
                split: SplitArrays(
                    made.x[rows], context.of(rows), None if group is None else group[rows]
                )
                for split, rows in chosen.items()
            },
            kind="table",
            columns=made.columns,
            units=self.units,
            classes=None if context.class_names is None else len(context.class_names),
            class_names=context.class_names,
            context_columns=context.columns,
            group=self.group,
            steps=made.steps,
            transforms=made.transforms,
            mean=made.mean,
            scale=made.scale,
            left_out=[*left_out, *without_values],
            remarks=[*remarks, *made.remarks, *context.remarks],
            source=f"{len(x)} rows of {self.source}",
            config=self.model_dump(mode="json"),
        )

    def _options(self) -> ReadOptions:
        return ReadOptions(
            self.key, self.delimiter, self.decimal, self.header, tuple(self.missing_texts)
        )

    def _columns(self, table: Table) -> tuple[list[Column], list[Column], list[Column]]:
        """Returns the columns of x, of the context vector, and of the label and the group."""
        columns = columns_of(table)
        _check_group(self, [column.name for column in columns])
        context = named(table, columns, self.context_columns or [])
        aside = named(table, columns, [n for n in (self.label_column, self.group) if n is not None])
        dropped = named(table, columns, self.drop)
        if self.columns is None:
            taken = [self.label_column, self.group, *(self.context_columns or []), *self.drop]
            x = variables(table, columns, [name for name in taken if name is not None])
        else:
            x = named(table, columns, self.columns)
        check_once(table, [*x, *context, *aside, *dropped])
        check_numeric(table, [*x, *context])
        return x, context, aside

    def _context(
        self,
        exact: np.ndarray,
        names: list[str],
        others: pa.Table,
        chosen: Mapping[str, np.ndarray],
    ) -> TableContext:
        if self.label_column is not None:
            return class_context(others, self.label_column, chosen, self.source)
        if not names:
            return TableContext()
        return vector_context(exact, names, chosen["train"], self.constant, self.source)


def _check_group(config: TableConfig, known: list[str]) -> None:
    name, path = config.group, config.source
    if name in (config.columns or []) or name in (config.context_columns or []):
        raise DataError(f"group: expected a column of {path} that is no other; got {name!r} twice")
    if name is not None and known.count(name) != 1:
        found = "more than one" if name in known else "no"
        raise DataError(
            f"{path} has {found} column {name!r} for group; expected one of: {', '.join(known)}"
        )


def _groups(others: pa.Table, config: TableConfig) -> np.ndarray | None:
    """Returns the group (N,) of each row."""
    if config.group is None:
        return None
    return number_groups(others[config.group], f"{config.source}, column {config.group!r}")


def _split(group: np.ndarray | None, count: int, config: TableConfig) -> dict[str, np.ndarray]:
    shares: dict[str, Any] = {
        "val_fraction": config.val_fraction,
        "test_fraction": config.test_fraction,
        "seed": config.seed,
    }
    if group is None:
        return random_split_by_fraction(count, what=f"rows in {config.source}", **shares)
    what = f"groups in column {config.group!r} of {config.source}"
    return split_by_group(group, what=what, **shares)


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
