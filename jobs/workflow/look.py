"""What `flowkd new` finds in a user's data: the keys of an import, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# Rows of a table, or files of a folder, that are looked at.
SAMPLE_ROWS, SAMPLE_FILES = 20_000, 200


@dataclass
class Look:
    """What was found.

    Attributes:
        data: Keys of the import, in the order in which they are written; or the name of a data set
            of the store.
        why: The reason of a key, for the comment behind it.
        dropped: Columns that are left out, each with its reason.
        hints: Lines of YAML that the user may want: key and value, and what they do.
        remarks: What whoever trains on the data should know, a sentence each.
        about: What the data are, in a sentence.
        event_shape: Shape of a row.
        rows: How many there are, about; None where it is not known.
        bins: Number of integer values of pictures.
        classes: Number of classes.
    """

    data: dict[str, Any] | str
    why: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    hints: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    about: str = ""
    event_shape: tuple[int, ...] = ()
    rows: int | None = None
    bins: int | None = None
    classes: int | None = None


def listed(names: Sequence[object], most: int = 8) -> str:
    """Returns the first of some names in a row, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
