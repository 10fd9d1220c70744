"""What can be done about a table's columns, and how each remedy is written on a command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import yaml
from pydantic import Field

from flowkd.columns import ColumnTransform
from flowkd.config import Config


class ColumnOptions(Config):
    """What is done with a table's columns before a flow learns their density.

    Attributes:
        drop: Columns that are left out.
        missing: The number that stands for no value, by column: rows that have it are left out.
        dequantize: Width of a column's steps, by column: whenever rows are read to learn from or to
            be judged on, uniform noise as wide is added.
        transforms: `log`, `logit` (with `low` and `high`, other than 0 and 1), or, for long tails,
            `asinh` (with `center` and `scale`), by column: what a flow does with it first, so that
            its density stays in data units.
        units: Units of columns, by column, for all who read of them.
    """

    drop: list[str] = Field(default_factory=list)
    missing: dict[str, float] = Field(default_factory=dict)
    dequantize: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    transforms: dict[str, ColumnTransform] = Field(default_factory=dict)
    units: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Remedies:
    """How a remark tells what can be done about a column.

    Attributes:
        options: What is done with the columns already.
        told: By the `options` of an import; in `words`, for rows that no import reads; or `not`,
            for those of the literature, whose figures compare as they are only.
    """

    options: ColumnOptions = field(default_factory=ColumnOptions)
    told: Literal["options", "words", "not"] = "options"

    def __call__(self, *remedies: tuple[str, str]) -> str:
        """Returns the end of a sentence for remedies: what is done, and the option that does it.

        Examples:
            >>> remedy = ("leave it out", "`--set 'drop=[a]'`")
            >>> Remedies()(remedy), Remedies(told="words")(remedy), Remedies(told="not")(remedy)
            ("; leave it out, by `--set 'drop=[a]'`.", '; leave it out.', '.')
        """
        if self.told == "not" or not remedies:
            return "."
        by_option = self.told == "options"
        said = [f"{what}, by {how}" if by_option and how else what for what, how in remedies]
        return f"; {', or '.join(said)}."


def quoted(names: Sequence[str]) -> str:
    """Returns names as they stand in a sentence.

    Examples:
        >>> quoted(["a", "b c"])
        '`a`, `b c`'
    """
    return ", ".join(f"`{name}`" for name in names)


def drop_option(options: ColumnOptions, *names: str) -> str:
    """Returns what leaves columns out, beside those that are left out already.

    Examples:
        >>> drop_option(ColumnOptions(drop=["a"]), "b c")
        "`--set 'drop=[a, b c]'`"
    """
    every = ", ".join(_in_yaml(name) for name in dict.fromkeys([*options.drop, *names]))
    return f"`--set {shlex.quote(f'drop=[{every}]')}`"


def set_option(key: str, name: str, value: object) -> str:
    """Returns what sets an option of one column.

    Examples:
        >>> set_option("dequantize", "pixels", 1)
        '`--set dequantize.pixels=1`'
        >>> set_option("dequantize", "n [/cm3]", 0.5)  # its name would be taken for a path
        '`--set \\'dequantize={"n [/cm3]": 0.5}\\'`'
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if name.isidentifier():
        shown = json.dumps(value) if isinstance(value, dict) else value
        return f"`--set {shlex.quote(f'{key}.{name}={shown}')}`"
    pair = json.dumps({name: value}, ensure_ascii=False)
    return f"`--set {shlex.quote(f'{key}={pair}')}`"


def _in_yaml(name: str) -> str:
    """Returns a name as YAML reads it back in a list, quoted where it must be."""
    try:
        if yaml.safe_load(f"[{name}]") == [name]:
            return name
    except yaml.YAMLError:
        pass
    return json.dumps(name, ensure_ascii=False)
