"""Tables of text: CSV and its kin, in blocks of rows; a cell that does not fit is named."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any, Literal, NoReturn, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from flowkd.data.tables.location import Location
from flowkd.data.tables.numbers import MISSING, long_integer, parse_numbers, seems
from flowkd.data.tables.table import KIND, ReadOptions, Table
from flowkd.data.tables.text_layout import BLANKS, Layout, layout_of
from flowkd.errors import DataError

SAMPLE_BYTES = 2**20
BLOCK_BYTES = 2**22
EXACT = 2.0**53
# How pandas calls a column that its own index left without a name.
UNNAMED = re.compile(r"Unnamed: \d+(_level_\d+)?")


@dataclass
class TextTable(Table):
    """A text with a table.

    Attributes:
        long_integers: Whether whole numbers that have more digits than float64 holds are refused,
            or rounded.
    """

    location: Location | None = None
    layout: Layout | None = None
    missing: Sequence[str] = MISSING
    long_integers: Literal["refuse", "round"] = "refuse"
    first_missing: dict[int, str] = field(default_factory=dict)

    def batches(
        self, numbers: Sequence[int], texts: Sequence[int] = ()
    ) -> Iterator[list[pa.Array]]:
        """As Table."""
        assert self.location is not None
        assert self.layout is not None
        if not self.layout.first:
            return
        odd: list[Any] = []
        row = 0
        with self.location.stream() as stream:
            try:
                for batch in _opened(stream, self.layout, numbers, odd):
                    yield [
                        _with_gaps(batch.column(place))
                        if number in texts or self.fields[number].type == pa.string()
                        else self._numbers(batch.column(place), number, row)
                        for place, number in enumerate(numbers)
                    ]
                    row += batch.num_rows
            except pa.ArrowInvalid as error:
                self._explain(error, odd, row)

    def shown(self, number: int) -> str | None:
        """Returns how the first missing value of a field is written."""
        return self.first_missing.get(number)

    def _numbers(self, cells: pa.Array, number: int, row: int) -> pa.Array:
        assert self.layout is not None
        found, faulty = parse_numbers(cells, self.layout.decimal, self.missing)
        if faulty >= 0:
            text = cells[faulty].as_py()
            advice = seems(text, self.layout.decimal) or (
                f"correct it, or leave the column out; if it stands for no value, say "
                f"`missing_texts: [{text.strip()[:60]!r}]` and `incomplete: drop`"
            )
            raise DataError(
                f"{self._cell(row + faulty, number)}: expected a number; got {text[:60]!r}: "
                f"{advice}"
            )
        if found.null_count and number not in self.first_missing:
            absent = found.is_null().to_numpy(zero_copy_only=False)
            self.first_missing[number] = cells[int(np.flatnonzero(absent)[0])].as_py()
        values = found.to_numpy(zero_copy_only=False)
        if self.long_integers == "round":
            return found
        if len(values) and np.nanmax(np.abs(values), initial=0.0) >= EXACT:
            long = long_integer(cells)
            if long >= 0:
                raise DataError(
                    f"{self._cell(row + long, number)}: {cells[long].as_py().strip()} has more "
                    f"digits than float32 or float64 can hold; if it is an identifier, leave the "
                    f"column out by `columns`; if it is a quantity, write it as 1.0e+18"
                )
        return found

    def _cell(self, row: int, number: int) -> str:
        return f"{self.where}, {self.place(row)}, column {self.fields[number].name!r}"

    def _explain(self, error: Exception, odd: Sequence[Any], row: int) -> NoReturn:
        assert self.layout is not None
        if odd:
            found = odd[0]
            place = row if found.number is None else found.number - 1 - self.layout.header
            raise DataError(
                f"{self.where} cannot be read as csv: {self.place(place)} has "
                f"{found.actual_columns} values: {found.text[:80]!r}; expected "
                f"{found.expected_columns}, as the first line has"
            ) from error
        if "straddling" in str(error):
            raise DataError(
                f"{self.where} cannot be read as csv: a row after {self.place(row)} is longer than "
                f"{BLOCK_BYTES:,} bytes: is a quote not closed?"
            ) from error
        raise DataError(f"{self.where} cannot be read as csv: {error}") from error


def _with_gaps(cells: pa.Array) -> pa.Array:
    """Returns texts, null where there is none."""
    cells = pc.utf8_trim_whitespace(cells)
    return pc.if_else(pc.equal(cells, ""), None, cells)


def open_text(location: Location, options: ReadOptions, stack: ExitStack) -> Table:
    """Returns the table of a text, of which the first lines are read."""
    with location.stream() as file:
        sample = _beginning(file)
    layout = layout_of(sample, len(sample) < SAMPLE_BYTES, location.uri, options)
    fields = []
    for name, numeric, example in zip(layout.names, layout.numeric, layout.examples, strict=True):
        if numeric:
            fields.append(pa.field(name, pa.float64()))
            continue
        hint = seems(example, layout.decimal)
        words = f"text, such as {example[:40]!r}{f': {hint}' if hint else ''}"
        fields.append(pa.field(name, pa.string(), metadata={KIND: words}))
    table = TextTable(
        location.uri,
        fields,
        remarks=layout.remarks,
        location=location,
        layout=layout,
        missing=(*MISSING, *options.missing_texts),
    )
    _set_apart(table, layout)
    return table


def _set_apart(table: TextTable, layout: Layout) -> None:
    """Marks what is no variable: names of rows in the first column, and an empty last column."""
    for number, name in enumerate(layout.names):
        if name and not UNNAMED.fullmatch(name):
            continue
        cells = [row[number].strip() for row in layout.first if len(row) > number]
        if cells and not any(cells):
            table.index[number] = "without a name, and empty"
        elif all(before in table.index for before in range(number)) and (
            not layout.numeric[number] or _count(cells)
        ):
            table.index[number] = "without a name, and the names or numbers of the rows"


def _count(cells: Sequence[str]) -> bool:
    """Tells whether cells are 0, 1, 2, ... or 1, 2, 3, ..."""
    first = 1 if cells and cells[0] == "1" else 0
    return bool(cells) and list(cells) == [str(first + place) for place in range(len(cells))]


def _beginning(file: IO[bytes]) -> bytes:
    found = b""
    while len(found) < SAMPLE_BYTES and (piece := file.read(SAMPLE_BYTES - len(found))):
        found += piece
    return found


def _opened(
    stream: IO[bytes], layout: Layout, numbers: Sequence[int], odd: list[Any]
) -> Iterator[pa.RecordBatch]:
    """Returns a reader of the fields, as texts."""

    def note(row: Any) -> str:
        odd.append(row)
        return "error"

    places = [str(number) for number in range(len(layout.names))]
    wanted = [str(number) for number in numbers]
    blanks = layout.delimiter == BLANKS
    source = (
        cast(IO[bytes], io.BufferedReader(_Squeezed(stream, layout.encoding))) if blanks else stream
    )
    return cast(
        Iterator[pa.RecordBatch],
        pa.csv.open_csv(
            source,
            read_options=pa.csv.ReadOptions(
                use_threads=False,  # else rows are not counted
                block_size=BLOCK_BYTES,
                column_names=places,
                skip_rows=layout.skip,
                skip_rows_after_names=int(layout.header),
                encoding="utf-8" if blanks else layout.encoding,
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=note
            ),
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
            ),
        ),
    )


class _Squeezed(io.RawIOBase):
    """A text in which each run of blanks and tabs is one blank, and none begins or ends a line."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self.lines = io.TextIOWrapper(
            cast(Any, stream), encoding="utf-8-sig" if encoding == "utf-8" else encoding
        )
        self.left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.left:
            lines = self.lines.readlines(len(buffer))
            if not lines:
                return 0
            self.left = "".join(" ".join(line.split()) + "\n" for line in lines).encode()
        count = min(len(buffer), len(self.left))
        buffer[:count], self.left = self.left[:count], self.left[count:]
        return count
