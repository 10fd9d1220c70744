"""Published models from Python: load one as a flow, publish a flow as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowkd.data.facts import DataFacts
from flowkd.errors import ConfigError
from flowkd.flows.build import config_of, unit_keys
from flowkd.flows.flow import Flow
from flowkd.flows.round_trip import MAX_ROUND_TRIP_ERROR
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifacts import load_artifact, publish_artifact
from flowkd.registry.card import Lineage
from flowkd.store.store import Store
from flowkd.store.uri import default_uri


def load(reference: str, *, store: Store | str | None = None) -> Flow:
    """Returns a published flow, or a run's, verified against its manifest; gradients off.

    Args:
        reference: `models/NAME@VERSION_OR_ALIAS`, or `runs/RUN`.
        store: Root URI or Store; default FLOWKD_STORE, or the folder `store`.

    Raises:
        StoreError: Nothing of that name, or a damaged part.

    Examples:
        >>> _ = flowkd.publish(flowkd.coupling(2, mean=0, scale=1), "toy", store="memory://docs")
        >>> flowkd.load("models/toy@best", store="memory://docs")
        Flow(coupling, (2,), depth 5, width 128; 85,200 parameters)
    """
    return load_artifact(_opened(store), reference).flow


def publish(
    flow: Flow,
    name: str,
    *,
    store: Store | str | None = None,
    alias: str = "best",
    metrics: Mapping[str, Any] | None = None,
    max_round_trip_error: float = MAX_ROUND_TRIP_ERROR,
    force: bool = False,
) -> str:
    """Publishes a flow as a new version of a model, and points an alias at it.

    Args:
        flow: Built from a config, its mean and scale known; on any device.
        name: Of the model.
        store: Root URI or Store; default FLOWKD_STORE, or the folder `store`.
        alias: Which moves to the new version.
        metrics: Figures to keep with it, such as bits per dimension.
        max_round_trip_error: The most that its samples may be off after a round trip between z and
            x, in the form and the precision in which it is served.
        force: Whether it is published although it is further off; its card notes it.

    Returns:
        The reference of the version, `models/NAME@VERSION`.

    Raises:
        ConfigError: A flow without a config, such as a form for inference, or one that was never
            fitted.
        RefusedError: A flow that is further off.
        StoreError: A name that is none, or a store that cannot be written.
    """
    try:
        config = config_of(flow)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if any(getattr(config, key) is None for key in unit_keys(config)):
        raise ConfigError(f"expected a flow with a mean and scale; got {flow!r}: fit it first")
    opened = _opened(store)
    low, high = flow.context_range or (None, None)
    version = publish_artifact(
        opened,
        name,
        flow,
        config,
        max_round_trip_error=max_round_trip_error,
        force=force,
        metrics=metrics,
        lineage=Lineage(bins=flow.bins),
        data=DataFacts(
            columns=flow.columns,
            context_minimum=None if low is None else list(low),
            context_maximum=None if high is None else list(high),
        ),
    )
    set_alias(opened, name, alias, version)
    return f"models/{name}@{version}"


def _opened(store: Store | str | None) -> Store:
    return store if isinstance(store, Store) else Store(store or default_uri())
