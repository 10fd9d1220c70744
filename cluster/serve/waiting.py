"""What waits for its answer, by its cost: a request's rows times the measured time of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.serve.config import ServingLimits
from cluster.serve.errors import ApiError

MEMORY = 0.8  # of what was measured before, against the latest


class Rates:
    """Seconds that a row takes, by model and operation, as they were measured.

    >>> rates = Rates()
    >>> rates.cost("photos", "sample", 100)  # nothing is known yet
    0.0
    >>> rates.measured("photos", "sample", rows=10, seconds=0.5)
    >>> rates.cost("photos", "sample", 100)
    5.0
    """

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = {}

    def measured(self, model: str, operation: str, rows: int, seconds: float) -> None:
        """Takes note of how long so many rows took."""
        new, key = seconds / rows, (model, operation)
        old = self.seconds.get(key, new)
        self.seconds[key] = MEMORY * old + (1 - MEMORY) * new

    def cost(self, model: str, operation: str, rows: float) -> float:
        """Returns the seconds that so many rows are expected to take."""
        return rows * self.seconds.get((model, operation), 0.0)


class Waiting:
    """Requests that were accepted and are not answered yet.

    Args:
        replicas: How many compute them.
    """

    def __init__(self, replicas: int = 1) -> None:
        self.replicas = replicas
        self.count = 0
        self.seconds = 0.0

    @contextmanager
    def enter(self, cost: float = 0.0) -> Iterator[Place]:
        """Holds a place for a request of so many seconds, until it is given back."""
        place = Place(self)
        place.add(cost)
        try:
            yield place
        finally:
            place.give_back()

    def refusal(
        self, cost: float, limits: ServingLimits, timeout_s: float, own: Place | None = None
    ) -> ApiError | None:
        """Returns why a request of so many seconds is not accepted; None if it is.

        One that waits for nobody is always accepted: what is measured may be wrong.

        Args:
            cost: Seconds that it is expected to take.
            limits: Those of one replica.
            timeout_s: Seconds within which it is to be answered.
            own: The place that it holds already, if it does.
        """
        count = self.count - (own is not None)
        ahead = (self.seconds - (own.cost if own else 0.0)) / self.replicas
        headers = {"Retry-After": str(min(60, max(1, math.ceil(ahead))))}
        if count >= limits.max_ongoing_requests * self.replicas:
            message = f"{count} requests wait or run already, the most; try again later"
            return ApiError(503, "overloaded", message, headers)
        if count and ahead > limits.max_wait_s:
            message = (
                f"the requests before it take about {ahead:.3g} s, and none is accepted to wait "
                f"longer than {limits.max_wait_s:g} s; try again later"
            )
            return ApiError(503, "overloaded", message, headers)
        if count and ahead + cost > timeout_s:
            message = (
                f"expected an answer within {timeout_s:.3g} s; it would take about "
                f"{ahead + cost:.3g} s, {ahead:.3g} of them for the requests before it; ask for "
                "less, or later"
            )
            return ApiError(503, "too_late", message, headers)
        return None


class Place:
    """The place of one request."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting: Waiting | None = waiting
        self.cost = 0.0
        waiting.count += 1

    def add(self, cost: float) -> None:
        """Lets the request cost so many seconds more."""
        assert self._waiting is not None, "a place that was given back"
        self.cost += cost
        self._waiting.seconds += cost

    def give_back(self) -> None:
        """Gives the place back; again, it does nothing."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.count -= 1
            waiting.seconds = waiting.seconds - self.cost if waiting.count else 0.0
