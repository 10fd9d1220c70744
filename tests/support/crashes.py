"""A process that ends at a store call of one's choice."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from flowkd.store.store import Store

CALLS = ("read", "write", "create", "exists", "list", "remove")


class Crash(BaseException):
    """The process is gone: nothing may catch this."""


def crash_at(patch: pytest.MonkeyPatch, number: int, *, after: bool) -> None:
    """Makes the store's call of a number the last, before or after it has taken effect."""
    count = itertools.count(1)

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Store, *arguments: Any) -> Any:
            mine = next(count)
            if mine > number or (mine == number and not after):
                raise Crash
            result = original(self, *arguments)
            if mine == number:
                raise Crash
            return result

        return call

    for name in CALLS:
        patch.setattr(Store, name, patched(getattr(Store, name)))
