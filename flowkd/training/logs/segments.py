"""The segments of a run's metrics: whose they are, and which of their records count.

`runs/NAME/metrics/00000002-0001-40-00000000.jsonl` is the first segment of a log that was opened
for the first time by who holds number 2 of the run's lease, when 40 steps were done. Of all that
was opened before it, records of these 40 steps count, and none of later ones, whenever they are
written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SEGMENT = re.compile(r"([0-9]{8})-([0-9]{4})-([0-9]+)-([0-9]{8})\.jsonl")


class Opening(NamedTuple):
    """One opening of a run's log; the greatest is the last.

    Attributes:
        token: Number of the lease under which it was opened.
        time: How often the log was opened under that number, this time included.
        start: How many steps were done.
    """

    token: int
    time: int
    start: int

    @property
    def prefix(self) -> str:
        """What the names of its segments begin with."""
        return f"{self.token:08}-{self.time:04}-{self.start}-"


class Segment(NamedTuple):
    """A segment of a log.

    Attributes:
        opening: Whose it is.
        name: Of its object.
        limit: Records of later steps do not count.
    """

    opening: Opening
    name: str
    limit: float


def next_opening(names: Iterable[str], token: int, start: int) -> Opening:
    """Returns the opening that follows those whose segments are there."""
    counts = [each.time for each, _ in _parsed(names) if each.token == token]
    return Opening(token, max(counts, default=0) + 1, start)


def segments_of(names: Iterable[str]) -> list[Segment]:
    """Returns the segments among names, the oldest first.

    >>> names = ["00000001-0001-0-00000000.jsonl", "00000002-0001-40-00000000.jsonl"]
    >>> [(segment.opening.token, segment.limit) for segment in segments_of(names)]
    [(1, 40), (2, inf)]
    """
    found, limit, after = [], math.inf, math.inf
    last = None
    for opening, name in sorted(_parsed(names), reverse=True):
        if opening != last:
            limit, last = after, opening
            after = min(after, opening.start)
        found.append(Segment(opening, name, limit))
    return found[::-1]


def _parsed(names: Iterable[str]) -> Iterator[tuple[Opening, str]]:
    for name in names:
        match = SEGMENT.fullmatch(name)
        if match is not None:
            yield Opening(int(match[1]), int(match[2]), int(match[3])), name
