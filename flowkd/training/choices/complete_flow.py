"""What a flow's config leaves open, filled in from its data set, or from its teacher's flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowkd.config import parse_config, reason
from flowkd.data.manifest import Manifest
from flowkd.errors import ConfigError
from flowkd.flows.family import FlowConfig


def complete_flow(config: FlowConfig, manifest: Manifest) -> FlowConfig:
    """Fills in what a flow's config leaves open from the data set it is to be trained on.

    Raises:
        ConfigError: The config contradicts the data set.
    """
    mean: Any = manifest.mean if manifest.bins is None else manifest.bins / 2
    scale: Any = manifest.scale if manifest.bins is None else float(manifest.bins)
    found = {
        "event_shape": tuple(manifest.event_shape), "mean": mean, "scale": scale,
        "transforms": manifest.transforms,
    }  # fmt: skip
    values = config.model_dump()
    values |= {key: value for key, value in found.items() if values[key] is None}
    if values["event_shape"] != tuple(manifest.event_shape):
        raise ConfigError(
            f"flow.event_shape: expected {tuple(manifest.event_shape)} of data set "
            f"{manifest.name!r}; got {values['event_shape']}"
        )
    _check_transforms(config, manifest)
    values |= _context_of(config, manifest)
    try:
        return type(config).model_validate(values)
    except ValueError as error:
        raise ConfigError(
            f"flow does not fit data set {manifest.name!r}: {reason(error)}"
        ) from error


def _check_transforms(config: FlowConfig, manifest: Manifest) -> None:
    """Raises ConfigError for transforms of which the data set has no statistics."""
    ours, theirs = list(config.transforms or []), manifest.transforms or []
    known = config.mean is not None and config.scale is not None
    if config.transforms is not None and ours != theirs and not known:
        raise ConfigError(
            f"flow.transforms: expected those of data set {manifest.name!r}, of whose transformed "
            f"columns it has mean and scale; got others: leave them out, import the data set with "
            f"them, or give flow.mean and flow.scale"
        )


def _context_of(config: FlowConfig, manifest: Manifest) -> dict[str, Any]:
    """Returns what a flow takes of its data set's context: all there is, unless it ignores it."""
    if config.context == "ignore":
        return {}
    values: dict[str, Any] = {}
    for key, have in (("classes", manifest.classes), ("context_size", manifest.context_size)):
        given = getattr(config, key)
        if given is not None and given != (have or 0):
            raise ConfigError(
                f"flow.{key}: data set {manifest.name!r} has {have or 'none'}; got {given}: leave "
                f"it out, and the flow takes what the data set has; `context: ignore` trains one "
                f"without"
            )
        values[key] = have if given is None else given
    if values["context_size"]:
        for key in ("context_mean", "context_scale"):
            given = getattr(config, key)
            values[key] = getattr(manifest, key) if given is None else given
    return values


def complete_like(config: FlowConfig, teacher: Mapping[str, Any]) -> FlowConfig:
    """Fills in what a flow's config leaves open from its teacher's, where there are no data."""
    shared = {"event_shape", "mean", "scale", "transforms"}
    if config.context != "ignore":
        shared |= {"context", "classes", "context_size", "context_mean", "context_scale"}
    open_ = {key: teacher.get(key) for key in shared if getattr(config, key) is None}
    return parse_config(type(config), {**config.model_dump(), **open_}, source="flow")
