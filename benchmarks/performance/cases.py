"""Kinds of flows that are compared: flowkd's config, and the libraries that have one like it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from benchmarks.performance.peers import (
    BINS,
    BOUND,
    Contender,
    Size,
    nflows_table,
    normflows_glow,
    normflows_table,
    zuko_table,
)
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.family import FlowConfig

TABLES = {"normflows": normflows_table, "nflows": nflows_table, "zuko": zuko_table}


@dataclass(frozen=True)
class Case:
    """A kind of flow.

    Attributes:
        fields: Of flowkd's config, besides shape, width, depth and units.
        depth: Steps; of pictures, in each level.
        peers: What builds the same in other libraries, by name.
        picture: Whether it is a flow of pictures.
    """

    fields: Mapping[str, Any]
    depth: int
    peers: Mapping[str, Callable[[Size], Contender]]
    picture: bool = False

    def size(self, shape: tuple[int, ...], width: int) -> Size:
        """Returns what all libraries have in common."""
        return Size(shape, width, self.depth, self.fields.get("levels", 1))

    def config(self, shape: tuple[int, ...], width: int) -> FlowConfig:
        """Returns flowkd's config."""
        units = {"mean": 128.0, "scale": 256.0} if self.picture else {"mean": 0.0, "scale": 1.0}
        given = {"event_shape": shape, "width": width, "depth": self.depth, **units, **self.fields}
        return TypeAdapter(AnyFlowConfig).validate_python(given)


def _tables(theirs: str, **fields: Any) -> Case:
    return Case(fields, 5, {name: build(theirs) for name, build in TABLES.items()})


CASES = {
    "glow": Case({"kind": "glow", "levels": 3}, 8, {"normflows": normflows_glow}, picture=True),
    "coupling": _tables("coupling", kind="coupling", mix="reverse"),
    "coupling spline": _tables(
        "coupling spline", kind="coupling", mix="reverse", transform="spline",
        bins=BINS, bound=BOUND,
    ),
    "autoregressive": _tables(
        "autoregressive", kind="autoregressive", mix="reverse", transform="affine",
    ),
    "autoregressive spline": _tables(
        "autoregressive spline", kind="autoregressive", mix="reverse", transform="spline",
        bins=BINS, bound=BOUND,
    ),
    "inverse autoregressive": _tables(
        "inverse autoregressive", kind="autoregressive", mix="reverse", transform="affine",
        direction="sampling",
    ),
}  # fmt: skip
