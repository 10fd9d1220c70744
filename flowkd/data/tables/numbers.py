"""Numbers as people write them in a text, and what a cell that is none seems to be."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "None", "<NA>")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?|[+-]?inf(inity)?|nan", re.I)
WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eEdD][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?\d{1,3}([,.' ]\d{3})+([.,]\d+)?")
# The signs that word processors put in the place of a minus.
MINUS = "^[\u2212\u2013]"
# More digits than float64 keeps: what is written so is a name rather than a quantity.
LONG = r"^\s*[+-]?\d{17,}\s*$"


def is_number(text: str, decimal: str = ".") -> bool:
    """Tells whether a cell is a number.

    Examples:
        >>> [is_number(text) for text in ("1e-3", " +.5 ", "1.5D+03", "0x1f", "1,5", "")]
        [True, True, True, False, False, False]
        >>> is_number("1,5", decimal=",")
        True
    """
    text = re.sub(MINUS, "-", text.strip())
    if decimal == ",":
        if "." in text:
            return False
        text = text.replace(",", ".")
    return NUMBER.fullmatch(text) is not None


def parse_numbers(cells: pa.Array, decimal: str, missing: Sequence[str]) -> tuple[pa.Array, int]:
    """Returns the cells as float64, null where no value is, and the place of the first bad one.

    Args:
        cells: Texts.
        decimal: The decimal mark.
        missing: Texts that stand for no value.

    Returns:
        The numbers, and -1; or nothing of use, and the position of a cell that is no number.
    """
    found = _cast(cells, missing) if decimal == "." else None
    if found is not None:
        return found, -1
    cells = pc.utf8_trim_whitespace(cells)
    plain = cells
    if decimal == ",":
        points = pc.index(pc.match_substring(cells, "."), True).as_py()
        if points >= 0 and not _are_missing(cells, points, missing):
            return cells, points
        plain = pc.replace_substring(cells, ",", ".")
    plain = pc.replace_substring_regex(plain, MINUS, "-")
    plain = pc.replace_substring_regex(plain, r"^([+-]?[\d.]+)[dD]([+-]?\d+)$", r"\1e\2")
    found = _cast(plain, missing)
    if found is not None:
        return found, -1
    for place, text in enumerate(cells.to_pylist()):
        if text is not None and text not in missing and not is_number(text, decimal):
            return cells, place
    return cells, 0


def _are_missing(cells: pa.Array, place: int, missing: Sequence[str]) -> bool:
    return cells[place].as_py() in missing


def _cast(cells: pa.Array, missing: Sequence[str]) -> pa.Array | None:
    absent = pc.is_in(cells, value_set=pa.array(list(missing), cells.type))
    try:
        return pc.if_else(absent, None, cells).cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def long_integer(cells: pa.Array) -> int:
    """Returns the place of a whole number of 17 digits or more; -1 if there is none."""
    return int(pc.index(pc.match_substring_regex(cells, LONG), True).as_py())


def seems(text: str, decimal: str) -> str | None:
    """Returns what a cell that is no number seems to be, and what to do; None if it is just text.

    Examples:
        >>> seems("12 %", ".")
        'it has a unit: remove it'
        >>> seems("1,5", ".")
        "is ',' the decimal mark? say `decimal: ','`"
    """
    text = text.strip()
    other = "," if decimal == "." else "."
    if re.fullmatch(r"[+-]?0[xX][0-9a-fA-F]+", text):
        return "it is hexadecimal: write it in decimal, or leave the column out"
    if re.fullmatch(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d{1,2}:\d\d(:\d\d.*)?", text):
        return "it is a time: write it as a number, or leave the column out"
    if THOUSANDS.fullmatch(text):
        return "it has separators of thousands: remove them"
    if is_number(text, other):
        return f"is {other!r} the decimal mark? say `decimal: '{other}'`"
    if re.fullmatch(r"[<>~]=?\s*[\d.,]+", text):
        return "it is a limit rather than a value: write a number, or remove such rows"
    if re.fullmatch(r"[+-]?\d+([.,]\d+)?\s*[A-Za-zµ°/%$€]{1,6}", text):
        return "it has a unit: remove it"
    return None
