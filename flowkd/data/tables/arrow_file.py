"""Arrow IPC, as files and as streams, and Feather, which is the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa

from flowkd.data.tables.lists import with_lengths
from flowkd.data.tables.location import Location
from flowkd.data.tables.parquet import pandas_index
from flowkd.data.tables.table import ReadOptions, Table

FILE_MAGIC, FEATHER_1_MAGIC = b"ARROW1", b"FEA1"


@dataclass
class ArrowTable(Table):
    """An Arrow file or stream."""

    file: IO[bytes] | None = None

    def batches(
        self, numbers: Sequence[int], texts: Sequence[int] = ()
    ) -> Iterator[list[pa.Array]]:
        """As Table."""
        assert self.file is not None
        # Other columns are passed over where the options say which are wanted.
        options = pa.ipc.IpcReadOptions(included_fields=sorted(set(numbers)))
        found = sorted(set(numbers))
        places = [found.index(number) for number in numbers]
        for batch in _record_batches(self.file, options):
            for start in range(0, batch.num_rows, size := self.batch_rows(numbers)):
                part = batch.slice(start, size)
                yield [part.column(place) for place in places]


def open_arrow(location: Location, options: ReadOptions, stack: ExitStack) -> Table:
    """Returns the table of an Arrow or Feather file, of which only the schema is read."""
    file = stack.enter_context(location.seekable())
    if file.read(4) == FEATHER_1_MAGIC:
        raise ValueError("Feather version 1 is no longer read: write it again as version 2")
    file.seek(0)
    with _reader(file, None) as reader:
        schema = reader.schema
    table = ArrowTable(location.uri, list(schema), None, pandas_index(schema), file=file)
    return with_lengths(table)


def _reader(file: IO[bytes], options: Any) -> Any:
    file.seek(0)
    is_file = file.read(len(FILE_MAGIC)) == FILE_MAGIC
    file.seek(0)
    source = pa.PythonFile(file, mode="r")
    if is_file:
        return pa.ipc.open_file(source, options=options)
    return pa.ipc.open_stream(source, options=options)


def _record_batches(file: IO[bytes], options: Any) -> Iterator[pa.RecordBatch]:
    reader = _reader(file, options)
    if isinstance(reader, pa.RecordBatchFileReader):
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    else:
        yield from reader
