"""A grid takes every way through a space once, and refuses more than it may take."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from flowkd.errors import ConfigError
from tuning.suggest import Suggester, grid


def draw(suggester: Suggester) -> None:
    suggester.categorical("a", ["x", "y", "z"])
    if suggester.categorical("b", ["off", "on"]) == "on":
        suggester.number("c", 0.0, 1.0, [0.25, 0.75], log=False)
    suggester.number("d", 1.0, 3.0, [1.0, 2.0, 3.0], log=True)


def test_a_grid_holds_every_point_once_in_the_order_of_the_choices() -> None:
    wanted: list[dict[str, Any]] = [
        {"a": a, "b": b} | ({} if c is None else {"c": c}) | {"d": d}
        for a, (b, c), d in product(
            "xyz", [("off", None), ("on", 0.25), ("on", 0.75)], [1.0, 2.0, 3.0]
        )
    ]
    assert grid(draw, len(wanted)) == wanted


def test_choices_may_depend_on_what_was_chosen_before() -> None:
    def triangle(suggester: Suggester) -> None:
        rows = int(suggester.categorical("rows", ["1", "2", "3"]))
        suggester.number("column", 0, 3, [float(column) for column in range(rows)])

    assert [point["column"] for point in grid(triangle, 6)] == [0.0, 0.0, 1.0, 0.0, 1.0, 2.0]


def test_a_grid_of_more_points_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most trials = 26 points; got more: raise trials"):
        grid(draw, 26)
