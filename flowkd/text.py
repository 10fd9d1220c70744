"""Text of others, such that a terminal shows it and does nothing else."""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# C0 and C1 but for tab and newline, and what turns the direction of a line.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Returns text whose control characters are shown as escapes, but for tabs and newlines.

    Examples:
        >>> visible("a\x1b[31mb\n")
        'a\\x1b[31mb\n'
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def log_for_terminal(text: str) -> str:
    r"""Returns a log as a terminal may be sent it: without colours, a progress bar as lines.

    Examples:
        >>> log_for_terminal("\x1b[31m1%\x1b[0m\r2%\r\n\x1b]0;title\x07")
        '1%\n2%\n\\x1b]0;title\\x07'
    """
    return visible(_COLOURS.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def shortened(text: str, most: int = 200) -> str:
    """Returns text of at most so many characters, of which the middle is left out.

    Examples:
        >>> shortened("abcdefghij", 7), shortened("abc", 7)
        ('ab...ij', 'abc')
    """
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"
