"""Counts the calls of a store, which cost what no machine changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flowkd.store.store import Store

CALLS = (
    "read", "write", "create", "exists", "list", "find", "sizes", "copy", "remove", "remove_child"
)  # fmt: skip


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Counts the calls by name while it is entered, and what is read by the name of the object."""
    counts: Counter[str] = Counter()

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Store, *arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            if name == "read":
                counts[arguments[-1].rpartition("/")[2]] += 1
            return original(self, *arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(Store, name, counted(name, getattr(Store, name)))
        yield counts
