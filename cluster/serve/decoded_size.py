"""How large Parquet pages and Arrow buffers become when they are decompressed, without doing so.

A reader allocates what their headers claim, and fails where a page or buffer turns out larger. So
who knows the sum of the claims knows the memory that a decoder takes, whatever the file is made of.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Fields of PageHeader, https://github.com/apache/parquet-format/blob/master/src/main/thrift.
UNCOMPRESSED_SIZE, COMPRESSED_SIZE = 2, 3
# Fields of Message, RecordBatch and DictionaryBatch, https://github.com/apache/arrow/tree/main/format.
MESSAGE_HEADER = 2
BATCH_BUFFERS, BATCH_COMPRESSION = 2, 3
DICTIONARY_BATCH = 1


def parquet_size(body: bytes, metadata: pq.FileMetaData, limit: int) -> int:
    """Returns the size of all pages in bytes, or of the first that exceed the limit together.

    Raises:
        ValueError: A page header is none, or lies outside of the body.
    """
    size = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            for page in _pages(body, row_group.column(number)):
                size += page
                if size > limit:
                    return size
    return size


def _pages(body: bytes, column: pq.ColumnChunkMetaData) -> Iterator[int]:
    start = column.data_page_offset
    if column.has_dictionary_page:
        start = min(start, column.dictionary_page_offset)
    end = start + column.total_compressed_size
    if not 0 <= start <= end <= len(body):
        raise ValueError("a column lies outside of the file")
    while start < end:
        header, start = _thrift_struct(body, start, 0)
        size, step = header.get(UNCOMPRESSED_SIZE), header.get(COMPRESSED_SIZE)
        if not isinstance(size, int) or not isinstance(step, int) or min(size, step) < 0:
            raise ValueError("a page header has no sizes")
        yield size
        start += step


def _thrift_struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Returns the fields of a struct in Thrift's compact protocol, and where it ends."""
    if depth > 8:
        raise ValueError("a page header is nested too deep")
    fields: dict[int, Any] = {}
    number = 0
    while True:
        byte, at = _byte(data, at), at + 1
        if not byte:
            return fields, at
        if byte >> 4:
            number += byte >> 4
        else:
            number, at = _zigzag(data, at)
        fields[number], at = _thrift_value(data, at, byte & 15, depth)


def _thrift_value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return kind == 1, at
    if kind == 3:
        return None, at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        length, at = _varint(data, at)
        return None, at + length
    if kind == 12:
        return _thrift_struct(data, at, depth + 1)
    raise ValueError(f"a page header has a field of the unexpected type {kind}")


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = _byte(data, at)
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of a page header has no end")


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("a page header is cut off")
    return data[at]


def arrow_size(message: pa.ipc.Message) -> int:
    """Returns the size of a message's buffers in bytes, once they are decompressed.

    Raises:
        ValueError: The message is damaged.
    """
    if message.type not in ("record batch", "dictionary"):
        return 0
    metadata, body = memoryview(message.metadata), memoryview(message.body)
    try:
        header = _table(metadata, _follow(metadata, 0), MESSAGE_HEADER)
        if header is not None and message.type == "dictionary":
            header = _table(metadata, header, DICTIONARY_BATCH)
        if header is None or _field(metadata, header, BATCH_COMPRESSION) is None:
            return body.nbytes
        place = _table(metadata, header, BATCH_BUFFERS)
        if place is None:
            return 0
        (count,) = struct.unpack_from("<I", metadata, place)
        size = 0
        for number in range(count):
            offset, length = struct.unpack_from("<qq", metadata, place + 4 + 16 * number)
            if not length:
                continue
            (claimed,) = struct.unpack_from("<q", body, offset)
            if min(offset, length, claimed + 1) < 0:
                raise ValueError("a buffer claims a negative size")
            size += length if claimed == -1 else claimed  # -1: this one is not compressed
        return size
    except struct.error as error:
        raise ValueError("a message is cut off") from error


def _follow(data: memoryview, at: int) -> int:
    (offset,) = struct.unpack_from("<I", data, at)
    return at + offset


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Returns where a field of a flatbuffers table lies; None where it has its default."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * number)
    return table + offset if offset else None


def _table(data: memoryview, table: int, number: int) -> int | None:
    place = _field(data, table, number)
    return None if place is None else _follow(data, place)
