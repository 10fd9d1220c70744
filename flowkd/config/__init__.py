"""Typed configuration: frozen pydantic models, read from YAML, overridden by `key.path=value`."""

from flowkd.config.base import Config, dump_config, load_config, parse_config
from flowkd.config.faults import reason
from flowkd.config.overrides import apply_overrides
from flowkd.config.yaml_file import read_values

__all__ = [
    "Config",
    "apply_overrides",
    "dump_config",
    "load_config",
    "parse_config",
    "read_values",
    "reason",
]
