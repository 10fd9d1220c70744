"""From a config to a flow, and back: building, counting, and making smaller."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from flowkd.bijectors import Chain
from flowkd.bijectors.transforms import preprocessing
from flowkd.flows.context import ContextUnits
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow

# What a flow's config takes over from its data, which says nothing of its shape.
OF_DATA = ("event_shape", "mean", "scale", "transforms", "context_mean", "context_scale")


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
    """Returns a flow's shape in words: its kind and the fields that are not left at default."""
    named = {"levels": "L", "depth": "K", "width": "width"}
    values = flow.model_dump(exclude_defaults=True, exclude={"kind", *OF_DATA})
    values |= {key: getattr(flow, key) for key in named if hasattr(flow, key)}
    given = [f"{named.get(key, key)} {value}" for key, value in values.items()]
    return f"{flow.kind}, {', '.join(given)}"


def smaller(config: FlowConfig, share: float) -> FlowConfig:
    """Returns the config of a student with at most a share of the parameters.

    It is of the same family, but that of an autoregressive flow, which is one pass both ways. The
    depth shrinks by a power of the share that is the family's own, as far as the share allows it;
    then the width is the largest within the share.

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

    power = config.depth_power

    def student(width: float) -> FlowConfig:
        return config.student(share**power, width)

    def parameters(width: float) -> int:
        return count_parameters(build_flow(student(width)))

    if parameters(0.0) > most:
        power = 1.0
    if parameters(0.0) > most:
        raise ValueError(
            f"expected a share that leaves at least {parameters(0.0):,} parameters to a "
            f"{config.kind} flow; got {share}, which leaves {most:,.0f}: raise it"
        )
    # Of its own family it is no wider, so that it can begin as a part of it.
    low, high = 0.0, 1.0 if student(0.0).kind == config.kind else 8.0
    for _ in range(13):  # parameters grow with the width
        middle = (low + high) / 2
        low, high = (middle, high) if parameters(middle) <= most else (low, middle)
    return student(low)


def new_flow(config: FlowConfig, *, seed: int = 0) -> Flow:
    """Builds a new flow whose statistics may be left to the data: `standardize` sets them."""
    units = {
        key: 0.0 if key.endswith("mean") else 1.0 for key in unit_keys(config) if _open(config, key)
    }
    flow = build_flow(config.model_copy(update=units), seed=seed)
    flow.config = config
    return flow


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
