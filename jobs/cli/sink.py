"""What commands say besides their results, apart from what opens stores, which help does not."""

from __future__ import annotations

import sys

from flowkd.text import visible


def be_quiet(quiet: bool) -> None:
    """Has `done` and `hint` say nothing from now on, or something again."""
    _Sink.quiet = quiet


def is_quiet() -> bool:
    """Tells whether --quiet is given."""
    return _Sink.quiet


def done(sentence: str) -> None:
    """Prints what a command has done, unless --quiet is given."""
    if not _Sink.quiet:
        print(visible(sentence))


def hint(sentence: str) -> None:
    """Prints to stderr what may be done next, unless --quiet is given: stdout is for results."""
    if not _Sink.quiet:
        print(visible(sentence), file=sys.stderr)


class _Sink:
    quiet = False
