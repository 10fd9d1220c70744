"""Typed configuration: frozen pydantic models, read from YAML, overridden by `key.path=value`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from flowkd.errors import ConfigError


class Config(BaseModel):
    """Base of every configuration: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


C = TypeVar("C", bound=BaseModel)


def load_config(kind: type[C], path: str | Path, overrides: Sequence[str] = ()) -> C:
    """Reads a YAML file as a configuration.

    Args:
        kind: The model that the file must validate against.
        path: The file.
        overrides: `key.path=value` each, the value in YAML; a list's element by its number.

    Raises:
        ConfigError: The file is missing or not YAML, or a key is unknown or its value invalid;
            each faulty key is named with its full path.
    """
    values = read_values(path)
    apply_overrides(values, overrides)
    return parse_config(kind, values, source=str(path))


def read_values(path: str | Path) -> dict[str, Any]:
    """Returns a YAML file's mapping; raises ConfigError where there is none."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no config file {str(path)!r}") from error
    except OSError as error:
        raise ConfigError(f"cannot read config file {str(path)!r}: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"expected a mapping in {path}; got {type(values).__name__}")
    return values


def parse_config(kind: type[C], values: Any, *, source: str) -> C:
    """Validates plain values as a configuration; raises ConfigError with every faulty key."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(kind, error, values, source)) from error


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Sets values of a mapping, in place, by `key.path=value`.

    Raises:
        ConfigError: The path leads nowhere, or the value is not YAML.

    Examples:
        >>> values = {"train": {"steps": 10}}
        >>> apply_overrides(values, ["train.steps=20", "train.learning_rate=1.0e-3"])
        >>> values
        {'train': {'steps': 20, 'learning_rate': 0.001}}
    """
    for override in overrides:
        _set(values, override)


def dump_config(config: BaseModel) -> str:
    """Returns a configuration as YAML, from which `load_config` reads an equal one.

    Examples:
        >>> class Small(Config):
        ...     steps: int = 10
        >>> dump_config(Small(steps=20))
        'steps: 20\\n'
    """
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _set(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"expected --set key.path=value; got {override!r}")
    *parents, last = path.split(".")
    node: Any = values
    for depth, key in enumerate(parents):
        if isinstance(node, list):
            node = node[_position(node, key, path)]
        else:
            node = node.setdefault(key, {})
        if not isinstance(node, dict | list):
            raise ConfigError(
                f"--set {path}: {'.'.join(parents[: depth + 1])} holds {node!r}, not a mapping"
            )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {path}: {text!r} is not YAML: {error}") from error
    if isinstance(node, list):
        node[_position(node, last, path)] = value
    else:
        node[last] = value


def _position(node: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(f"--set {path}: expected a position below {len(node)}; got {key!r}")
    return int(key)


def _explain(kind: type[BaseModel], error: ValidationError, values: Any, source: str) -> str:
    lines = [f"{source} is not a valid {kind.__name__}:"]
    for fault in error.errors():
        path = _path(fault["loc"], values) or "(top level)"
        if fault["type"] == "extra_forbidden":
            lines.append(f"  {path}: unknown key; remove it or correct its name")
        elif fault["type"] == "missing":
            lines.append(f"  {path}: missing; add it")
        else:
            lines.append(f"  {path}: {fault['msg']}; got {fault['input']!r}")
    return "\n".join(lines)


def _path(location: Sequence[int | str], values: Any) -> str:
    """Returns the path of a fault in the file: pydantic's, without the tags of unions."""
    parts = []
    for part in location:
        if isinstance(values, dict) and part not in values and part == values.get("kind"):
            continue
        parts.append(str(part))
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            values = None
    return ".".join(parts)
