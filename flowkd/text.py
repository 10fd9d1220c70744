"""Text of others, such that a terminal shows it and does nothing else."""

from __future__ import annotations

import re

# C0 and C1 but for tab and newline, and what turns the direction of a line.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Returns text whose control characters are shown as escapes, but for tabs and newlines.

    Examples:
        >>> visible("a\x1b[31mb\n")
        'a\\x1b[31mb\n'
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
