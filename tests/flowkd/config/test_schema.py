"""What is printed of a configuration: every key, its type, its default, its sentence."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flowkd.config import Config
from flowkd.config.schema import keys_of


class Part(Config):
    """A part.

    Attributes:
        size: How large it is, in metres, which is
            told over two lines.
        mode: How.
    """

    size: float = Field(1.5, gt=0)
    mode: Literal["fast", "slow"] = "fast"


class Kind(Config):
    kind: Literal["round"] = "round"


class Other(Config):
    kind: Literal["square"] = "square"


class Whole(Part):
    """A whole.

    Attributes:
        part: What it has.
        parts: By name.
        shape: One of two.
    """

    part: Part
    parts: dict[str, Part] = Field(default_factory=dict)
    rows: tuple[int, ...] | None = None
    flag: bool = False
    shape: Kind | Other = Field(Kind(), discriminator="kind")


def test_every_key_has_its_type_its_default_and_its_sentence() -> None:
    found = [(key.path, key.type, key.default, key.sentence) for key in keys_of(Whole)]
    size = ("size", "number", "1.5", "How large it is, in metres, which is told over two lines.")
    mode = ("mode", "fast, slow", "fast", "How.")
    assert found == [
        size,
        mode,
        ("part", "mapping", None, "What it has."),
        (f"part.{size[0]}", *size[1:]),
        (f"part.{mode[0]}", *mode[1:]),
        ("parts", "mapping of mapping", "{}", "By name."),
        (f"parts.NAME.{size[0]}", *size[1:]),
        (f"parts.NAME.{mode[0]}", *mode[1:]),
        ("rows", "list of whole number, or null", "null", ""),
        ("flag", "true or false", "false", ""),
        ("shape", "mapping of kind round, square", "kind round", "One of two."),
    ]
