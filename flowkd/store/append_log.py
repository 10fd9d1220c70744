"""Text that grows in a store that cannot append: objects in a row, the last of them rewritten."""

from __future__ import annotations

from flowkd.store.store import Store

SEGMENT_BYTES = 256 * 1024


class AppendLog:
    """Appends bytes to `00000000` and on in a folder of a store.

    The last is written anew until it holds SEGMENT_BYTES, and then never again: what is written
    grows with what is appended, not with its square.

    Args:
        store: Where.
        folder: Of the segments.
        suffix: Of their names.
        first: Number of the first that is written.
    """

    def __init__(self, store: Store, folder: tuple[str, ...], suffix: str, first: int = 0) -> None:
        self._store, self._folder, self._suffix = store, folder, suffix
        self._number, self._last = first, b""

    @property
    def room(self) -> int:
        """How many bytes fill the last one."""
        return SEGMENT_BYTES - len(self._last)

    def append(self, data: bytes) -> None:
        """Appends bytes to the last segment; where that fails, nothing is appended.

        Raises:
            StoreError: As the store's `write`; a folder raises OSError.
        """
        grown = self._last + data
        self._store.write(grown, *self._folder, f"{self._number:08d}{self._suffix}")
        self._last = grown
        if self.room <= 0:
            self._number, self._last = self._number + 1, b""
