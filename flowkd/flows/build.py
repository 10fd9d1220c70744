"""From a config to a flow, and back: building, counting, and making smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError

from flowkd.bijectors import Chain
from flowkd.bijectors.transforms import preprocessing
from flowkd.config.faults import explain_faults
from flowkd.flows.context import ContextUnits
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow

# What a flow's config takes over from its data, which says nothing of its shape.
OF_DATA = ("event_shape", "mean", "scale", "transforms", "context_mean", "context_scale")

# Of a student of another family than its teacher's: shares of the depth, the deepest that may be at
# least so wide is taken, and how wide at most.
OTHER_DEPTHS, OTHER_WIDEST = (1.0, 0.5, 0.25, 0.125), 16.0
NARROWEST = 0.125


def build_flow(config: FlowConfig, *, seed: int = 0) -> Flow:
    """Builds a new flow; the same config and seed give the same parameters.

    Args:
        config: Complete: with event_shape, mean and scale, and those of context vectors.
        seed: Seed of the initial parameters; default 0.

    Raises:
        ValueError: A config that leaves one of these open, or whose statistics are of another size.

    Example:
        >>> from flowkd.flows.coupling import CouplingConfig
        >>> config = CouplingConfig(event_shape=(3,), mean=0.0, scale=1.0, depth=2, width=8)
        >>> build_flow(config).sample(5).shape
        torch.Size([5, 3])
    """
    missing = [key for key in ("event_shape", *unit_keys(config)) if _open(config, key)]
    if missing or config.event_shape is None or config.mean is None or config.scale is None:
        raise ValueError(f"expected a complete flow config; got none for {', '.join(missing)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        preprocess = preprocessing(config.mean, config.scale, config.transforms)
        chain = Chain({"preprocess": preprocess, **config.build_bijectors()})
        flow = Flow(chain, config.event_shape, config.context_spec, _context_units(config))
    flow.config = config
    return flow


def unit_keys(config: FlowConfig) -> tuple[str, ...]:
    """Returns the fields of a config that hold statistics of the data it is for."""
    of_context = ("context_mean", "context_scale") if config.context_size else ()
    return ("mean", "scale", *of_context)


def _context_units(config: FlowConfig) -> ContextUnits | None:
    if not config.context_size:
        return None
    assert config.context_mean is not None
    assert config.context_scale is not None
    return ContextUnits(config.context_size, config.context_mean, config.context_scale)


def config_of(flow: Flow) -> FlowConfig:
    """Returns the config that a flow was built from; raises ValueError for one without."""
    if not isinstance(flow.config, FlowConfig):
        raise ValueError(
            f"expected a flow built from a config, by build_flow, flowkd.glow or flowkd.load; got "
            f"{flow!r}: a form for inference, or a flow put together by hand, has none"
        )
    return flow.config


def count_parameters(flow: torch.nn.Module) -> int:
    """Returns the number of trainable values."""
    return sum(parameter.numel() for parameter in flow.parameters())


def describe_flow(flow: FlowConfig) -> str:
    """Returns a flow's shape in words: its kind and the fields that are not left at default.

    Example:
        >>> from flowkd.flows.coupling import CouplingConfig
        >>> describe_flow(CouplingConfig(depth=4, width=24))
        'coupling, K 4, width 24'
    """
    named = {"levels": "L", "depth": "K"}
    values = flow.model_dump(exclude_defaults=True, exclude={"kind", "layers", "order", *OF_DATA})
    values |= flow.sizes
    if getattr(flow, "transform", "affine") != "affine":
        values["transform"] = "spline"
    given = [f"{named.get(key, key)} {value}" for key, value in values.items() if value != 0]
    return f"{flow.kind}, {', '.join(given)}"


def smaller(config: FlowConfig, share: float) -> FlowConfig:
    """Returns the config of a student with at most a share of the parameters.

    It is of the same family, but for one that is slow in a direction, whose `student` is not, and
    for a converted one whose matrices alone are more than the share.
    The depth shrinks by a power of the share that is the family's own, where networks are left that
    are not too narrow; then the width is the largest within the share. Of a flow that was converted
    from another library mean and scale are left to the data.

    Args:
        config: Complete.
        share: Of its parameters, above 0 and below 1.

    Raises:
        ValueError: A share outside of that, or smaller than the smallest flow of the family.

    Example:
        >>> from flowkd.flows.coupling import CouplingConfig
        >>> config = CouplingConfig(event_shape=(8,), mean=0.0, scale=1.0, depth=8, width=128)
        >>> small = smaller(config, share=0.25)
        >>> large, less = (count_parameters(build_flow(each)) for each in (config, small))
        >>> small.depth, less < large / 4
        (8, True)
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share of the parameters above 0 and below 1; got {share}")
    most = share * count_parameters(build_flow(config))
    base = config.student()

    def parameters(depth: float, width: float) -> int:
        return count_parameters(new_flow(base.scaled(depth, width)))

    powers, widest = sorted({config.depth_power, 0.5}), 1.0
    depths = tuple(share**power for power in powers)
    if base is config and parameters(depths[-1], 0.0) > most:
        base = config.student(of_steps=True)  # whose networks may not be most of it
    if base is not config:
        depths, widest = tuple(share**0.5 * each for each in OTHER_DEPTHS), OTHER_WIDEST
    least = [parameters(depth, 0.0) for depth in depths]
    if least[-1] > most:
        raise ValueError(
            f"expected a share that leaves at least {least[-1]:,} parameters to a {base.kind} "
            f"flow; got {share}, which leaves {most:,.0f}: raise it"
        )
    narrow = [parameters(depth, NARROWEST) for depth in depths]
    fits = [depth for depth, count in zip(depths, narrow, strict=True) if count <= most]
    depth = fits[0] if fits else depths[-1]
    low, high = 0.0, widest
    for _ in range(10):  # parameters grow with the width
        middle = (low + high) / 2
        low, high = (middle, high) if parameters(depth, middle) <= most else (low, middle)
    return base.scaled(depth, low)


def new_flow(config: FlowConfig, *, seed: int = 0) -> Flow:
    """Builds a new flow whose statistics may be left to the data: `standardize` sets them."""
    units = {
        key: 0.0 if key.endswith("mean") else 1.0 for key in unit_keys(config) if _open(config, key)
    }
    flow = build_flow(config.model_copy(update=units), seed=seed)
    flow.config = config
    return flow


def flow_of(kind: type[FlowConfig], values: Mapping[str, Any], *, seed: int) -> Flow:
    """Builds a new flow of a family's fields, as `new_flow`; raises ValueError for faulty ones."""
    try:
        config = kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(explain_faults(kind, error, values))
        raise ValueError(f"expected a valid {kind.__name__}: {faults}") from None
    return new_flow(config, seed=seed)


def standardize(flow: Flow, statistics: Mapping[str, float | tuple[float, ...]]) -> None:
    """Sets the statistics that a flow's config has left to the data, in place.

    Args:
        flow: Of `new_flow`.
        statistics: A value for each of `unit_keys`.
    """
    config = config_of(flow)
    units = {key: statistics[key] for key in unit_keys(config) if _open(config, key)}
    flow.config = config = config.model_copy(update=units)
    assert config.mean is not None
    assert config.scale is not None
    like = next(flow.parameters())
    preprocess = preprocessing(config.mean, config.scale, config.transforms)
    flow.chain.add_module("preprocess", preprocess.to(like))
    units_of_context = _context_units(config)
    flow.context_units = None if units_of_context is None else units_of_context.to(like.device)


def _open(config: FlowConfig, key: str) -> bool:
    return getattr(config, key) is None
