"""Tables as bodies: CSV, Parquet and Arrow, checked before they are decoded; and as answers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cluster.serve.decoded_size import arrow_size, parquet_size
from cluster.serve.errors import ApiError
from cluster.serve.http import too_large
from cluster.serve.media import ARROW_FILE, ARROW_STREAM, CSV, PARQUET
from flowkd.predict.columns import cell, check_names
from flowkd.predict.requests import InvalidRequestError

ARROW_MAGIC, ARROW_END = b"ARROW1\0\0", b"\xff\xff\xff\xff\0\0\0\0"
MAX_HEADER_BYTES = 2**20
_CSV_VALUE = re.compile(r"In CSV column #(\d+): Row #(\d+): .*invalid value '(.*)'", re.DOTALL)


@dataclass(frozen=True)
class TableLimits:
    """What a table may have.

    Attributes:
        names: Names of its columns, all of which it must have, in any order.
        labels: Those of them that may be of text.
        max_rows: Largest number of rows.
        max_bytes: Largest size in bytes of the table when it is decompressed.
    """

    names: Sequence[str]
    labels: Sequence[str]
    max_rows: int
    max_bytes: int


def parse_table(body: bytes, media_type: str, limits: TableLimits) -> dict[str, np.ndarray]:
    """Returns the columns of a body, (N,) each: numbers, or texts where they are labels.

    Raises:
        ApiError: 400, it is damaged; 413, it is too large when it is decompressed.
        InvalidRequestError: Its columns are others, or not of numbers; it has too many rows; or a
            value is missing.
    """
    parse = {CSV: _parse_csv, PARQUET: _parse_parquet}.get(media_type, _parse_arrow)
    try:
        table = parse(body, limits)
        table.validate(full=True)
    # What damaged files make of a reader: no enumeration of pyarrow's own errors covers it.
    except (pa.ArrowException, ValueError, OSError, MemoryError, IndexError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"expected a body of {media_type}: {text}"
        raise ApiError(400, "malformed_body", message) from error
    return {name: _values(table[name], name) for name in limits.names}


def write_table(columns: Mapping[str, np.ndarray], media_type: str) -> bytes:
    """Returns columns (N,) as a body of one of `media.TABLES`."""
    table, file = pa.table(dict(columns)), io.BytesIO()
    if media_type == PARQUET:
        pq.write_table(table, file)
    elif media_type == CSV:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(columns)
        file.write(header.getvalue().encode())
        pa.csv.write_csv(table, file, pa.csv.WriteOptions(include_header=False))
    else:
        writer = {ARROW_STREAM: pa.ipc.new_stream, ARROW_FILE: pa.ipc.new_file}[media_type]
        with writer(file, table.schema) as opened:
            opened.write_table(table)
    return file.getvalue()


def _parse_csv(body: bytes, limits: TableLimits) -> pa.Table:
    names, lines = _csv_header(body)
    check_names(names, limits.names, "the header of the CSV")
    rest = body.rstrip()
    left = max(rest.count(b"\n"), rest.count(b"\r")) + 1 - lines
    _check_rows(left, limits, "lines after the header")
    if left < 1:
        return pa.table({name: [] for name in names})
    types = {name: pa.float64() for name in names if name not in limits.labels}
    try:
        return pa.csv.read_csv(
            io.BytesIO(body),
            pa.csv.ReadOptions(
                column_names=names, skip_rows=lines, use_threads=False, block_size=len(body) + 1
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        found = _CSV_VALUE.search(str(error))
        if not found:
            raise
        place = cell(int(found[2]) - 1 - lines, names[int(found[1])])
        raise InvalidRequestError(f"{place}: expected a number; got {found[3]!r:.40}") from error


def _csv_header(body: bytes) -> tuple[list[str], int]:
    """Returns the names in the first line that is not empty, and the number of lines up to it."""
    start = io.TextIOWrapper(io.BytesIO(body[:MAX_HEADER_BYTES]), "utf-8-sig", newline="")
    reader = csv.reader(start)
    try:
        for names in reader:
            if names:
                return [name.strip() for name in names], reader.line_num
    except csv.Error as error:
        raise ValueError(f"the header cannot be read: {error}") from error
    raise ValueError("it has no header")


def _parse_parquet(body: bytes, limits: TableLimits) -> pa.Table:
    metadata = pq.read_metadata(pa.BufferReader(body))
    _check_schema(metadata.schema.to_arrow_schema(), limits)
    _check_rows(metadata.num_rows, limits)
    if parquet_size(body, metadata, limits.max_bytes) > limits.max_bytes:
        raise too_large(limits.max_bytes, " once it is decompressed")
    # A label stays one of a dictionary: however long it is, it is there once.
    with pq.ParquetFile(
        pa.BufferReader(body),
        read_dictionary=list(limits.labels),
        page_checksum_verification=True,
    ) as file:
        batches = file.iter_batches(limits.max_rows + 1, columns=limits.names, use_threads=False)
        return _collect(batches, limits)


def _parse_arrow(body: bytes, limits: TableLimits) -> pa.Table:
    stream = body
    if body.startswith(ARROW_MAGIC):  # a file: a stream, and an index of it
        stream = body[len(ARROW_MAGIC) :]
        if not body.endswith(ARROW_MAGIC.rstrip(b"\0")):
            raise ValueError("the file is cut off")
    source, size = pa.BufferReader(stream), 0
    for message in pa.ipc.MessageReader.open_stream(source):
        size += arrow_size(message)
        if size > limits.max_bytes:
            raise too_large(limits.max_bytes, " once it is decompressed")
    end = source.tell()
    if not stream[:end].endswith(ARROW_END) or (stream is body and end < len(body)):
        raise ValueError("expected one stream with the mark of its end; is it cut off, or open?")
    with pa.ipc.open_stream(stream, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
        _check_schema(reader.schema, limits)
        return _collect(iter(reader), limits)


def _collect(batches: Iterator[pa.RecordBatch], limits: TableLimits) -> pa.Table:
    kept, rows = [], 0
    for batch in batches:
        rows += batch.num_rows
        _check_rows(rows, limits)
        kept.append(batch)
    return pa.Table.from_batches(kept) if rows else pa.table({name: [] for name in limits.names})


def _check_rows(rows: int, limits: TableLimits, what: str = "rows") -> None:
    if rows > limits.max_rows:
        raise InvalidRequestError(
            f"x: expected at most {limits.max_rows} {what}; got {rows}; split them over several "
            "requests"
        )


def _check_schema(schema: pa.Schema, limits: TableLimits) -> None:
    check_names(schema.names, limits.names, "the table")
    for field in schema:
        known = _is_numeric(field.type) or (field.name in limits.labels and _is_text(field.type))
        if not known:
            raise InvalidRequestError(
                f"column {field.name!r}: expected integers or floats; got {field.type}"
            )


def _is_numeric(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _values(column: pa.ChunkedArray, name: str) -> np.ndarray:
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise InvalidRequestError(
            f"{cell(row, name)}: expected a value; got none, {column.null_count} such in all"
        )
    return column.to_numpy()
