"""Frozen pydantic models as configurations, validated with every fault told."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from flowkd.config.annotations import number_at
from flowkd.config.faults import explain_faults, place
from flowkd.config.overrides import apply_overrides
from flowkd.config.yaml_file import read_values
from flowkd.credentials import values_without_credentials
from flowkd.errors import ConfigError


class Config(BaseModel):
    """Base of every configuration: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Whether it holds too many numbers to look at each here: then its user checks them.
    holds_rows: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, values: Any) -> Any:
        """Refuses true where it is not meant: pydantic takes it for 1."""
        found = values.items() if isinstance(values, dict) else ()
        wrong = [
            InitErrorDetails(type=kind, loc=(key,), input=value)
            for key, value in found
            if isinstance(value, bool)
            and key in cls.model_fields
            and (kind := number_at(cls.model_fields[key].annotation))
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return values

    @model_validator(mode="after")
    def _within_64_bits(self) -> Self:
        """Refuses whole numbers that neither a tensor nor a table takes."""
        if self.holds_rows:
            return self
        said = "expected a whole number within 64 bits"
        wrong = [
            InitErrorDetails(type=PydanticCustomError("too_large", said), loc=keys, input=value)
            for keys, value in _too_large(dict(self))
        ]
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self


def _too_large(values: Any, *keys: int | str) -> Iterator[tuple[tuple[int | str, ...], int]]:
    """Yields the whole numbers among plain values, at any depth, that 64 bits do not hold."""
    if isinstance(values, int):
        if not -(2**63) <= values < 2**63:
            yield keys, values
    elif isinstance(values, dict | list | tuple):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _too_large(value, *keys, key)


C = TypeVar("C", bound=BaseModel)


def load_config(kind: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """Reads a YAML file as a configuration.

    Args:
        kind: The model that the file must validate against.
        path: The file.
        overrides: `key.path=value` each, the value in YAML; a list's element by its number.

    Raises:
        ConfigError: The file is missing or not YAML, a key is there twice, or is unknown, or its
            value invalid; each faulty key is named with its full path and line.
    """
    values = read_values(path)
    apply_overrides(values, overrides)
    return parse_config(kind, values, source=str(path))


def parse_config(kind: type[C], values: Any, *, source: str) -> C:
    """Validates plain values as a configuration; raises ConfigError with every faulty key.

    Text such as `4e4`, which YAML takes for none, is a whole number where one is meant.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = error
    numbers = _with_whole_numbers(values, faults)
    if numbers is not None:
        try:
            return kind.model_validate(numbers)
        except ValidationError as error:
            faults = error
    found = explain_faults(kind, faults, values)
    between = " " if len(found) == 1 else "\n  "
    raise ConfigError(
        between.join([f"{source} is not a valid {kind.__name__}:", *found])
    ) from faults


def dump_config(config: BaseModel) -> str:
    """Returns a configuration as YAML, from which `load_config` reads an equal one.

    It is to be kept and shown, so credentials in URLs are left out.

    Examples:
        >>> class Small(Config):
        ...     steps: int = 10
        >>> dump_config(Small(steps=20))
        'steps: 20\\n'
    """
    values = values_without_credentials(config.model_dump(mode="json"))
    return yaml.safe_dump(values, sort_keys=False)


def _with_whole_numbers(values: Any, error: ValidationError) -> Any:
    """Returns a copy in which texts of whole numbers are these; None where there is none."""
    repaired = None
    for fault in error.errors(include_url=False):
        number = _whole(fault["input"]) if fault["type"] == "int_parsing" else None
        if number is None:
            continue
        repaired = copy.deepcopy(values) if repaired is None else repaired
        *parents, last = place(fault, values)
        node = repaired
        for key in parents:
            node = node[key]
        if isinstance(node, dict | list):
            node[last] = number  # type: ignore[index]
    return repaired


def _whole(text: Any) -> int | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return int(value) if value.is_integer() and abs(value) <= 2**53 else None
