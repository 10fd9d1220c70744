"""The Pareto front of points in two figures, lower is better in both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def pareto_front(
    points: Iterable[T], cost: Callable[[T], float], loss: Callable[[T], float]
) -> list[T]:
    """Returns the points that no other one dominates, in order of cost.

    One point dominates another if neither its cost nor its loss is higher, and one of them is
    lower. Points that are equal in both stay together.

    >>> sizes_and_bits = [(3, 1.0), (1, 3.0), (2, 3.0), (2, 2.0)]
    >>> pareto_front(sizes_and_bits, cost=lambda p: p[0], loss=lambda p: p[1])
    [(1, 3.0), (2, 2.0), (3, 1.0)]

    Args:
        points: In any order.
        cost: Of a point, such as a number of parameters.
        loss: Of a point, such as bits per dimension.
    """

    def figures(point: T) -> tuple[float, float]:
        return cost(point), loss(point)

    front: list[T] = []
    for point in sorted(points, key=figures):
        if not front or loss(point) < loss(front[-1]) or figures(point) == figures(front[-1]):
            front.append(point)
    return front
