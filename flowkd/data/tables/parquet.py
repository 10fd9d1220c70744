"""Parquet: the schema first, then the chosen columns in batches; pages' checksums are verified."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flowkd.data.tables.lists import with_lengths
from flowkd.data.tables.location import Location
from flowkd.data.tables.table import ReadOptions, Table
from flowkd.errors import DataError


@dataclass
class ParquetTable(Table):
    """A Parquet file."""

    file: Any = None

    def batches(
        self, numbers: Sequence[int], texts: Sequence[int] = ()
    ) -> Iterator[list[pa.Array]]:
        """As Table."""
        # By name, for positions in a Parquet file count the leaves of nested columns.
        names = [self.fields[number].name for number in numbers]
        doubled = [name for name in names if sum(f.name == name for f in self.fields) > 1]
        if doubled:
            raise DataError(
                f"expected each column of {self.where} once; got more than one {doubled[0]!r}"
            )
        for batch in self.file.iter_batches(self.batch_rows(numbers), columns=names):
            yield [batch.column(batch.schema.get_field_index(name)) for name in names]


def open_parquet(location: Location, options: ReadOptions, stack: ExitStack) -> Table:
    """Returns the table of a Parquet file, of which only the metadata are read."""
    source = stack.enter_context(location.seekable())
    file = pq.ParquetFile(source, page_checksum_verification=True)
    stack.callback(file.close)
    schema = file.schema_arrow
    table = ParquetTable(
        location.uri, list(schema), file.metadata.num_rows, pandas_index(schema), file=file
    )
    return with_lengths(table)


def pandas_index(schema: pa.Schema) -> dict[int, str]:
    """Returns the positions of the fields that pandas wrote because they are a frame's index."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        names = {name for name in stored["index_columns"] if isinstance(name, str)}
    except (ValueError, KeyError, TypeError):
        names = set()
    return {
        number: "index of a pandas DataFrame, by the file's metadata"
        for number, field in enumerate(schema)
        if field.name in names or _is_default_index(field.name)
    }


def _is_default_index(name: str) -> bool:
    return name.startswith("__index_level_") and name.endswith("__")
