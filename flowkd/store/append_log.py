"""An append-only log in a store that cannot append: numbered segments, the last one rewritten."""

from __future__ import annotations

from flowkd.store.store import Store

SEGMENT_BYTES = 256 * 1024


class AppendLog:
    """Appends bytes to the segments `00000000`, `00000001`, ... of a folder.

    The last segment is written again until it holds SEGMENT_BYTES, and then never again: the
    bytes that are sent grow with what is appended, not with its square.

    Args:
        store: Where the log lies.
        folder: Path of the folder of segments.
        suffix: End of the segments' names, such as `.jsonl`.
        prefix: Begin of their names; default none.

    Examples:
        >>> store = Store("memory://append-log")
        >>> log = AppendLog(store, ("logs", "a"), ".txt")
        >>> log.append(b"one, ")
        >>> log.append(b"two")
        >>> store.list("logs", "a"), store.read("logs", "a", "00000000.txt")
        (['00000000.txt'], b'one, two')
        >>> store.remove()
    """

    def __init__(
        self, store: Store, folder: tuple[str, ...], suffix: str, prefix: str = ""
    ) -> None:
        self._store, self._folder, self._suffix = store, folder, suffix
        self._prefix, self._number, self._last = prefix, 0, b""

    @property
    def free_bytes(self) -> int:
        """How many more bytes fill the last segment."""
        return SEGMENT_BYTES - len(self._last)

    def append(self, data: bytes) -> None:
        """Appends bytes to the last segment; where that fails, nothing is appended.

        Raises:
            StoreError: The store refused it.
        """
        grown = self._last + data
        self._store.write(grown, *self._folder, f"{self._prefix}{self._number:08d}{self._suffix}")
        self._last = grown
        if self.free_bytes <= 0:
            self._number, self._last = self._number + 1, b""
