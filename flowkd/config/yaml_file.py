"""YAML as mappings that remember the lines of their keys; a key twice is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from flowkd.errors import ConfigError

MERGE = "tag:yaml.org,2002:merge"


class YamlMapping(dict[Any, Any]):
    """A mapping of a YAML file.

    Attributes:
        lines: The line, from 1, of each key that still has the file's value.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Any, int] = {}

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.lines.pop(key, None)


class _Loader(yaml.SafeLoader):
    """Builds mappings with lines."""

    def construct_lined_mapping(self, node: yaml.MappingNode) -> Iterator[YamlMapping]:
        found = YamlMapping()
        yield found  # before its values, which may refer to it
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"line {_line(key_node)}: expected a word as a key; got a list")
            key = self.construct_object(key_node, deep=True)
            if key in lines:
                raise ConfigError(
                    f"key {key!r} is there twice, in lines {lines[key]} and {_line(key_node)}: "
                    f"remove one of them"
                )
            lines[key] = _line(key_node)
        found.update(self.construct_mapping(node))
        found.lines = lines


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_lined_mapping)
yaml.SafeDumper.add_representer(YamlMapping, yaml.SafeDumper.represent_dict)


def read_values(path: str | Path) -> dict[str, Any]:
    """Returns a YAML file's mapping; raises ConfigError where there is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"no config file {str(path)!r}") from error
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot read config file {str(path)!r}: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not YAML: expected text in UTF-8; its byte {error.start + 1} is none"
        ) from error
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"expected a mapping in {path}; got {type(values).__name__}")
    return values


def parse_yaml(text: str, source: str) -> Any:
    """Returns the value of a YAML text; raises ConfigError with line and column."""
    try:
        # A SafeLoader with other mappings: nothing is executed.
        return yaml.load(text, Loader=_Loader)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source} is not YAML{place}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source} is not YAML: {reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{source} is not YAML: it is nested too deeply") from error


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
