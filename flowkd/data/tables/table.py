"""What every format of a table offers: its fields, and its rows in batches of Arrow arrays."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from flowkd.data.manifest import LeftOut

# Keys of a field's metadata: how the elements of its vectors are called, its type in words.
ELEMENT, KIND = b"element", b"kind"
BATCH_VALUES = 2**20
MAX_BATCH_ROWS = 2**16


@dataclass(frozen=True)
class ReadOptions:
    """How a file is read, where it does not say so itself.

    Attributes:
        key: The table within a file that holds several: a path in HDF5 or ROOT, an array's name in
            .npz, the number or the name of a FITS extension.
        delimiter: What separates the columns of a text; None guesses. A blank stands for any run
            of blanks and tabs.
        decimal: The decimal mark of a text, `.` or `,`; None guesses.
        header: Whether a text begins with a line of names; None refuses what may be either.
        missing_texts: Cells of a text that stand for no value, besides those that are empty, NA,
            NaN or null.
    """

    key: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    header: bool | None = None
    missing_texts: tuple[str, ...] = ()


@dataclass
class Table(ABC):
    """A table that was opened: nothing but what tells its columns has been read.

    Attributes:
        where: What messages call it.
        fields: Its fields in the file's order; names may repeat, and a field of type
            `fixed_size_list` is a vector in each row.
        rows: The number of rows that the file promises; None where it does not say.
        index: Positions of fields that are no variables by the file's metadata, with the reason.
        remarks: What was guessed of the file, a sentence each.
        left_out: What of the file is in no field.
    """

    where: str
    fields: list[pa.Field]
    rows: int | None = None
    index: dict[int, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @abstractmethod
    def batches(
        self, numbers: Sequence[int], texts: Sequence[int] = ()
    ) -> Iterator[list[pa.Array]]:
        """Yields the rows in their order, an array for each of these fields, of equal lengths.

        May be called again. Other fields are not decoded.

        Args:
            numbers: Positions of the fields, each once.
            texts: Those of them that are wanted as they are written, whatever their type.

        Raises:
            DataError: The file is cut off or damaged, or a cell is not of its field's type.
        """

    def place(self, row: int) -> str:
        """Returns what messages call a row, which is counted from 0."""
        return f"row {row + 1:,} (from 1, without a header)"

    def shown(self, number: int) -> str | None:
        """Returns how the first missing value of a field is written, where it is."""
        return None

    def batch_rows(self, numbers: Sequence[int]) -> int:
        """Returns how many rows of these fields make a batch of bounded size."""
        width = sum(
            kind.list_size if pa.types.is_fixed_size_list(kind) else 1
            for kind in (self.fields[number].type for number in numbers)
        )
        return min(MAX_BATCH_ROWS, math.ceil(BATCH_VALUES / max(1, width)))
