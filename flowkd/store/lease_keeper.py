"""What a lease's holder does in the background: it says that it lives, and looks for others."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flowkd.errors import FencedError, StoreError
from flowkd.store.lease import Token, fenced, sign

RENEW_SECONDS = 5.0


class LeaseKeeper:
    """Renews a lease while it is entered, and notices who has fenced it out.

    A process that stood still looks at once when it wakes: its pause is over by then.

    Args:
        token: What was taken.
        on_fenced: Called once, in the background, with the error; default nothing.
    """

    def __init__(
        self, token: Token, on_fenced: Callable[[FencedError], None] = lambda error: None
    ) -> None:
        self.token = token
        self._on_fenced = on_fenced
        self._error: FencedError | None = None
        self._beats = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        if self._error is None:
            try:
                sign(self.token, self._beats + 1, released=True)
            except (OSError, StoreError) as error:
                print(f"{self.token} is not given back: {error}", flush=True)

    def check(self) -> None:
        """Raises FencedError once it is known that another has taken over; asks no store."""
        if self._error is not None:
            raise self._error

    def _renew(self) -> None:
        while not self._closing.wait(RENEW_SECONDS):
            try:
                other = self.token.successor()
                if other is not None:
                    self._error = fenced(self.token.place, other)
                    self._on_fenced(self._error)
                    return
                self._beats += 1
                sign(self.token, self._beats)
            except (OSError, StoreError) as error:
                print(f"lease of {self.token} not renewed yet: {error}", flush=True)
