"""A process that stands still at a store call of one's choice, and wakes after another's work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flowkd.errors import FencedError, HeldError
from flowkd.store.store import Store
from tests.support.crashes import CALLS


class PausingStore(Store):
    """Stands still before or after one of its calls, until it is woken."""

    number, after, calls = -1, False, 0
    reached, woken = threading.Event(), threading.Event()

    def _pause(self, after: bool) -> None:
        if threading.current_thread() is threading.main_thread():
            return
        if (self.calls, after) == (self.number, self.after):
            self.reached.set()
            assert self.woken.wait(300)
        self.calls += after


def _pausing(name: str) -> Callable[..., Any]:
    def call(self: PausingStore, *arguments: Any, **options: Any) -> Any:
        self._pause(after=False)
        result = getattr(Store, name)(self, *arguments, **options)
        self._pause(after=True)
        return result

    return call


for each in CALLS:
    setattr(PausingStore, each, _pausing(each))


def woken_at_each_call(
    store: Store,
    work: Callable[[Store, int], object],
    look: Callable[[int], Any],
    *,
    after: bool,
    counts: Callable[[int], bool] = lambda number: True,
) -> tuple[int, set[type | None]]:
    """Lets a worker stand still at each of its calls, another do the work, and the first wake.

    Args:
        store: In memory; leases must expire at once.
        work: Does the work of a number, all of it in the store that it is given.
        look: Returns what readers see of the work of a number, which must not change.
        after: Whether it stands still after the call, else before.
        counts: Tells of a number, while the first worker stands still, whether what readers see
            must not change; default always.

    Returns:
        The number of its calls, and how it ended: None where nothing was left to be done.
    """
    ends: set[type | None] = set()
    for number in range(200):
        old = PausingStore(store.uri)
        old.number, old.after = number, after
        old.reached, old.woken = threading.Event(), threading.Event()

        def run(old: Store = old, number: int = number) -> None:
            try:
                work(old, number)
                ends.add(None)
            except (FencedError, HeldError) as error:
                ends.add(type(error))

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive() and not old.reached.wait(0.01):
            pass
        if not old.reached.is_set():
            return number, ends
        demanded = counts(number)
        work(store, number)
        before = look(number)
        old.woken.set()
        thread.join()
        assert look(number) == before or not demanded, f"changed after call {number}"
    raise AssertionError("it made 200 calls")
