"""A process that ends at a store call of one's choice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from flowkd.store.store import Store

CALLS = ("read", "write", "create", "exists", "list", "find", "copy", "remove", "remove_child")


class Crash(BaseException):
    """The process is gone: nothing may catch this."""


def crash_at(
    patch: pytest.MonkeyPatch,
    number: int,
    *,
    after: bool,
    calls: Sequence[str] = CALLS,
    kind: type = Store,
) -> None:
    """Makes the store's call of a number the last, before or after it has taken effect.

    Args:
        patch: Takes it back.
        number: Number of the call, from 1.
        after: Whether it takes effect.
        calls: Names of the methods that are counted.
        kind: Of what: a filesystem's class counts objects, one by one.
    """
    count = itertools.count(1)

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            mine = next(count)
            if mine > number or (mine == number and not after):
                raise Crash
            result = original(self, *arguments, **options)
            if mine == number:
                raise Crash
            return result

        return call

    for name in calls:
        patch.setattr(kind, name, patched(getattr(kind, name)))
