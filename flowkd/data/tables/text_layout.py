"""How a text is laid out as a table: encoding, delimiter, header, decimal mark, kinds of cells."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from flowkd.data.tables.numbers import MISSING, WITH_COMMA, is_number
from flowkd.data.tables.table import ReadOptions
from flowkd.data.tables.text_encoding import decoded
from flowkd.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
BLANKS = " "
MAX_RECORDS = 1000


@dataclass
class Layout:
    """How a text is laid out.

    Attributes:
        encoding: Its encoding.
        delimiter: What separates columns; a blank for any run of blanks and tabs.
        decimal: Its decimal mark.
        names: Names of the columns.
        skip: How many lines come before the header, or before the rows if it has none.
        header: Whether there is a line of names.
        numeric: Whether most cells of each column are numbers.
        examples: A cell of each column that is no number; empty if there is none.
        first: The first rows, as texts.
        remarks: What was guessed.
    """

    encoding: str
    delimiter: str
    decimal: str = "."
    names: list[str] = field(default_factory=list)
    skip: int = 0
    header: bool = True
    numeric: list[bool] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    first: list[list[str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def layout_of(sample: bytes, whole: bool, where: str, options: ReadOptions) -> Layout:
    """Returns the layout of a text.

    Args:
        sample: Its first bytes.
        whole: Whether these are all.
        where: What messages call it.
        options: What the user says of it.

    Raises:
        DataError: It is no text, is empty, or its first lines are no table.
    """
    encoding, text = decoded(sample, where)
    remarks = [] if encoding == "utf-8" else [f"Read as {encoding.upper()}."]
    skip, comment, body = _after_comments(text)
    if not body.strip():
        raise DataError(f"{where} cannot be read as csv: it is empty; expected a line of names")
    delimiter, records = _records(body, whole, where, options.delimiter)
    if delimiter != "," and options.delimiter is None and len(records[0]) > 1:
        shown = "blanks" if delimiter == BLANKS else repr(delimiter)
        remarks.append(
            f"Read as columns that are separated by {shown}; `delimiter` says otherwise."
        )
    layout = Layout(encoding, delimiter, skip=skip, remarks=remarks)
    _find_header(layout, records, comment, where, options.header)
    layout.first = records[1:] if layout.header else records
    _check_lengths(layout, records, where)
    layout.decimal = options.decimal or _decimal(layout, where)
    _find_kinds(layout, [*MISSING, *options.missing_texts])
    return layout


def _after_comments(text: str) -> tuple[int, str | None, str]:
    """Returns how many lines begin with # or are blank, the last of these, and what follows."""
    skip, comment, place = 0, None, 0
    for match in re.finditer(r"[^\r\n]*(?:\r\n|\r|\n|$)", text):
        line = match.group().strip()
        if line and not line.startswith("#"):
            break
        if match.end() == match.start():
            break
        comment = line.lstrip("#").strip() if line else comment
        skip, place = skip + 1, match.end()
    return skip, comment, text[place:]


def _records(
    body: str, whole: bool, where: str, delimiter: str | None
) -> tuple[str, list[list[str]]]:
    """Returns the delimiter and the first records."""
    if delimiter is not None:
        return delimiter, split(body, delimiter, whole, where)
    tried = {mark: split(body, mark, whole, where) for mark in DELIMITERS}
    scores = {mark: _score(records) for mark, records in tried.items()}
    best = max(DELIMITERS, key=lambda mark: scores[mark])
    if scores[best][1] <= 1:
        blanks = split(body, BLANKS, whole, where)
        width = len(blanks[-1])
        if width > 1 and all(
            len(record) == width and any(map(is_number, record)) for record in blanks[1:]
        ):
            return BLANKS, blanks
    return best, tried[best]


def _score(records: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Returns how many of the records have the commonest number of columns, and that number."""
    counts = Counter(len(record) for record in records)
    width, count = max(counts.items(), key=lambda item: (item[1], item[0]))
    if width == 1:
        return 0.0, 1
    # A header that disagrees with all rows speaks against a delimiter: a decimal comma does so.
    agrees = len(records[0]) == width
    return count / len(records) + agrees, width


def split(text: str, delimiter: str, whole: bool, where: str) -> list[list[str]]:
    """Returns the first records of a text, without the last if that may not be whole."""
    if delimiter == BLANKS:
        lines = text.splitlines()[: MAX_RECORDS + 1]
        if not whole and len(lines) <= MAX_RECORDS:
            lines = lines[:-1]
        # Quotes are the reader's; here they only adorn names.
        split_lines = [re.sub(r'"(\S*)"', r"\1", line).split() for line in lines]
        return [cells for cells in split_lines if cells] or [[""]]
    records: list[list[str]] = []
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        for record in reader:
            if record:
                records.append(record)
            if len(records) > MAX_RECORDS:
                break
    except csv.Error as error:
        raise DataError(
            f"{where} cannot be read as csv: line {reader.line_num}: {error}; is a quote not "
            f"closed?"
        ) from error
    if not whole and len(records) <= MAX_RECORDS:
        records = records[:-1]
        if len(records) < 2:
            raise DataError(
                f"{where} cannot be read as csv: its first lines are longer than "
                f"{len(text):,} characters; is a quote not closed?"
            )
    return records or [[""]]


def _find_header(
    layout: Layout,
    records: Sequence[Sequence[str]],
    comment: str | None,
    where: str,
    header: bool | None,
) -> None:
    first = [name.strip() for name in records[0]]
    width = len(first)
    numbers = [name for name in first if is_number(name)]
    named = [name for name in first if name and not is_number(name)]
    if header is None and not named and comment is not None:
        names = [
            part.strip()
            for part in comment.split(None if layout.delimiter == BLANKS else layout.delimiter)
        ]
        if len(names) == width and not any(map(is_number, names)):
            layout.names, layout.header = names, False  # as NumPy's savetxt writes it
            layout.remarks.append(
                "The names of the columns are those of the last line of comments."
            )
            return
    if header is False:
        layout.names, layout.header = [f"x{number}" for number in range(width)], False
        return
    if header is None and numbers and width == len(numbers) + first.count(""):
        raise DataError(
            f"expected a header of column names in the first line of {where}; got numbers: "
            f"{', '.join(first[:5])}; add a line of names, or say `header: false`"
        )
    if header is None and numbers:
        raise DataError(
            f"expected a header of column names in the first line of {where}; got numbers among "
            f"them: {', '.join(numbers[:5])}; say `header: false` if it is data, or `header: true` "
            f"if these are names"
        )
    layout.names = first


def _check_lengths(layout: Layout, records: Sequence[Sequence[str]], where: str) -> None:
    """Refuses a title above the header, and a header without a name for the rows' own names."""
    width = len(layout.names)
    rows = Counter(len(row) for row in layout.first)
    if not rows or width in rows:
        return
    common = rows.most_common(1)[0][0]
    line = layout.skip + 1
    shown = (layout.delimiter.join(records[0]))[:60]
    advice = "remove what stands above the names of the columns"
    if width == common - 1:
        advice = "give the first column, of names of rows, a name too"
    raise DataError(
        f"{where} cannot be read as csv: line {line} has {width} value{'s' * (width != 1)} "
        f"({shown!r}), and the lines below it have {common}; expected a line of {common} names; "
        f"{advice}"
    )


def _decimal(layout: Layout, where: str) -> str:
    """Returns the decimal mark that the numbers have."""
    cells = [cell.strip() for row in layout.first for cell in row]
    commas = [cell for cell in cells if WITH_COMMA.fullmatch(cell)]
    points = [cell for cell in cells if "." in cell and is_number(cell)]
    if not commas or len(points) >= len(commas):
        return "."
    if all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", cell) for cell in commas):
        raise DataError(
            f"{where} has numbers such as {commas[0]!r}: say `decimal: ','` if the comma is their "
            f"decimal mark, or remove it if it separates thousands"
        )
    layout.remarks.append("Read with ',' as the decimal mark; `decimal` says otherwise.")
    return ","


def _find_kinds(layout: Layout, missing: Sequence[str]) -> None:
    for place in range(len(layout.names)):
        cells = [row[place].strip() for row in layout.first if len(row) > place]
        cells = [cell for cell in cells if cell not in missing]
        others = [cell for cell in cells if not is_number(cell, layout.decimal)]
        # Hexadecimal is a number, which is refused where it stands.
        odd = [cell for cell in others if not re.fullmatch(r"0[xX][0-9a-fA-F]+", cell)]
        layout.numeric.append(2 * len(odd) <= len(cells))
        layout.examples.append(odd[0] if odd else "")
