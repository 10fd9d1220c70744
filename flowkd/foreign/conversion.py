"""Flows of other libraries become flows of flowkd, of the same density."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from flowkd.config import reason
from flowkd.errors import ConversionError
from flowkd.flows.build import build_flow
from flowkd.flows.converted.config import ConvertedConfig
from flowkd.flows.flow import Flow
from flowkd.foreign.convert.parts import Converted, Part, norm, simplified
from flowkd.foreign.libraries import library_of, origin_of, part_for
from flowkd.foreign.same import check_same
from flowkd.foreign.units import Units


def convert(
    module: nn.Module,
    *,
    mean: float | Sequence[float] | None = None,
    scale: float | Sequence[float] | None = None,
    context_mean: float | Sequence[float] | None = None,
    context_scale: float | Sequence[float] | None = None,
) -> Flow:
    """Returns a flow of nflows, normflows or zuko as a flow of flowkd with the same log_prob.

    Layers are taken over one by one, and nothing of the library is needed afterwards. Both flows
    are then compared on samples of either, in float64 and float32.

    Args:
        module: The flow, trained; it is not changed.
        mean: Subtracted from the data, where these were standardised before the flow saw them; one
            number, or one for each column or channel; default what its own first layer subtracts.
        scale: What the data were divided by then.
        context_mean: Subtracted from context vectors before it saw them; default 0.
        context_scale: What they were divided by then; default 1.

    Raises:
        ConversionError: A layer that flowkd has not, by its name and class; densities that differ.
        ConfigError: Its library is not installed.

    See also:
        `adapt`: a teacher of any flow of these libraries.
    """
    units = Units.model_validate(
        {"mean": mean, "scale": scale, "context_mean": context_mean, "context_scale": context_scale}
    )
    return converted(module, units)


def converted(module: nn.Module, units: Units) -> Flow:
    """Returns a flow as `convert` does, of data in given units."""
    exact = copy.deepcopy(module).cpu().double().eval().requires_grad_(False)
    with torch.no_grad():
        found: Converted = part_for(library_of(module), "convert").convert(exact)
    parts = simplified(found.parts)
    mean, scale, parts = _units(parts, units)
    values = {
        "origin": origin_of(module),
        "event_shape": found.event_shape,
        "mean": mean,
        "scale": scale,
        "layers": [part.layer.model_dump() for part in parts] or [_identity(found)],
        "classes": found.classes,
        "context_size": found.context,
        **_context(found, units),
    }
    try:
        config = ConvertedConfig.model_validate(values)
        flow = build_flow(config).double()
    except ValueError as error:
        raise ConversionError(f"{origin_of(module)}: {reason(error)}") from error
    for path, part in zip(config.paths(), parts, strict=False):
        flow.chain[path].load_state_dict(part.weights, strict=True)
    flow = flow.requires_grad_(False).eval()
    check_same(module, flow, units)
    return flow.to(_dtype(module))


def _identity(found: Converted) -> dict[str, Any]:
    return {"kind": "norm", "size": found.event_shape[0]}


def _units(parts: list[Part], units: Units) -> tuple[Any, Any, list[Part]]:
    """Returns mean and scale of the data, and the parts that follow.

    A first layer that shifts and scales each channel is what standardises, if nothing is said.
    """
    if units.mean is not None or units.scale is not None:
        return (
            0.0 if units.mean is None else units.mean,
            1.0 if units.scale is None else units.scale,
            parts,
        )
    first = parts[0] if len(parts) > 1 else None
    if first is None or first.layer.kind != "norm" or first.layer.channels is not None:
        return 0.0, 1.0, parts
    slope, shift = first.weights["log_scale"].exp(), first.weights["bias"]
    mean, scale = (-shift).float().double(), (1 / slope).float().double()
    # Statistics are kept in float32: what rounding takes stays in the layer.
    rest = norm(slope * scale, slope * (mean + shift))
    return tuple(mean.tolist()), tuple(scale.tolist()), [rest, *parts[1:]]


def _context(found: Converted, units: Units) -> dict[str, Any]:
    if not found.context:
        return {}
    mean, scale = units.of_context
    return {"context_mean": mean, "context_scale": scale}


def _dtype(module: nn.Module) -> torch.dtype:
    kinds = {value.dtype for value in module.parameters() if value.is_floating_point()}
    return torch.float64 if kinds == {torch.float64} else torch.float32
