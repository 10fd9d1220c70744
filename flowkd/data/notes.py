"""What an import notes about its source: how often it met what, and in which files first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from flowkd.config import Config
from flowkd.text import shortened

NAMES = 10


class Noted(Config):
    """One thing that an import met.

    Attributes:
        count: How often.
        names: Names of the first files in which it met it.
    """

    count: int = 0
    names: list[str] = Field(default_factory=list)


class Notes:
    """Counts by topic and detail, which are the same whatever the order in which they are merged.

    Examples:
        >>> notes = Notes()
        >>> notes.add("other files", ".gif", "a.gif")
        >>> notes.add("other files", ".gif", "b.gif")
        >>> list(notes.about("other files"))
        [('.gif', Noted(count=2, names=['a.gif', 'b.gif']))]
    """

    def __init__(self, found: Mapping[str, Mapping[str, Noted]] | None = None) -> None:
        self.found = {topic: dict(details) for topic, details in (found or {}).items()}

    def add(self, topic: str, detail: str, name: str, count: int = 1) -> None:
        """Notes that a file has something, once or several times."""
        self._add(topic, shortened(detail), Noted(count=count, names=[shortened(name)]))

    def merge(self, other: Notes, name: str | None = None) -> None:
        """Adds what another part of the import noted; of one file, under the name given."""
        for topic, details in other.found.items():
            for detail, noted in details.items():
                names = noted.names if name is None else [name]
                self._add(topic, detail, Noted(count=noted.count, names=names))

    def about(self, topic: str) -> Iterator[tuple[str, Noted]]:
        """Yields the details of a topic, the most frequent first."""
        details = self.found.get(topic, {})
        yield from sorted(details.items(), key=lambda item: (-item[1].count, item[0]))

    def count(self, topic: str) -> int:
        """Returns how often a topic was noted."""
        return sum(noted.count for noted in self.found.get(topic, {}).values())

    def _add(self, topic: str, detail: str, more: Noted) -> None:
        details = self.found.setdefault(topic, {})
        noted = details.get(detail, Noted())
        names = list(dict.fromkeys([*noted.names, *more.names]))[:NAMES]
        details[detail] = Noted(count=noted.count + more.count, names=names)
