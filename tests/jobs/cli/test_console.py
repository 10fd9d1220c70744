"""Tables show figures with the digits that they are worth, and sentences as sentences."""

from __future__ import annotations

import pytest

from jobs.cli.console import say_facts


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3.14159265, ["3.142"]),
        (0.0, ["0.000"]),
        (8.94e-7, ["8.94e-07"]),
        ([9.784643173217773, -2.5], ["9.785, -2.500"]),
        ({"mean": [0.1234567]}, ["mean: 0.123"]),
        (["best", "v1.2"], ["best, v1.2"]),
        (["It has risen.", "It is off."], ["It has risen.", "It is off."]),
        (12345, ["12,345"]),
    ],
)
def test_a_value_is_shown_as_it_is_read(
    capsys: pytest.CaptureFixture[str], value: object, shown: list[str]
) -> None:
    say_facts({"fact": value}, as_json=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line.removeprefix("fact").strip() for line in lines] == shown
