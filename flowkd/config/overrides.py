"""`--set key.path=value`: values of a mapping, replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowkd.config.yaml_file import parse_yaml
from flowkd.errors import ConfigError


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Sets values of a mapping, in place, by `key.path=value`.

    Raises:
        ConfigError: The path leads nowhere, or the value is not YAML.

    Examples:
        >>> values = {"train": {"steps": 10}}
        >>> apply_overrides(values, ["train.steps=20", "train.learning_rate=1.0e-3"])
        >>> values
        {'train': {'steps': 20, 'learning_rate': 0.001}}
        >>> values = {"train": None}
        >>> apply_overrides(values, ["train.steps=20"])
        >>> values
        {'train': {'steps': 20}}
    """
    for override in overrides:
        _set(values, override)


def _set(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path or "" in path.split("."):
        raise ConfigError(f"expected --set key.path=value; got {override!r}")
    *parents, last = path.split(".")
    node: Any = values
    for depth, key in enumerate(parents):
        if isinstance(node, list):
            node = node[_position(node, key, path)]
        else:
            if node.get(key) is None:  # or a key of which all else is a comment
                node[key] = {}
            node = node[key]
        if not isinstance(node, dict | list):
            raise ConfigError(
                f"--set {path}: {'.'.join(parents[: depth + 1])} holds {node!r}, not a mapping"
            )
    value = parse_yaml(text, f"--set {path}: {text!r}")
    if isinstance(node, list):
        node[_position(node, last, path)] = value
    else:
        node[last] = value


def _position(node: list[Any], key: str, path: str) -> int:
    if not key.isdecimal() or int(key) >= len(node):
        raise ConfigError(f"--set {path}: expected a position below {len(node)}; got {key!r}")
    return int(key)
