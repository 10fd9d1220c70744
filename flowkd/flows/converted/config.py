"""The config of a flow that was trained with another library."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from flowkd.bijectors import Bijector, Chain, Leading
from flowkd.flows.converted.layers import CouplingLayer, Layer, LayerConfig
from flowkd.flows.converted.smaller import NetworkLayer, hidden, scaled_layers, widths
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.glow import GlowConfig

DEPTH, WIDTH = 16, 128  # of the one-pass flow that its students are made smaller from


class ConvertedConfig(FlowConfig):
    """Flow that was trained with another library: its layers one by one, as `flowkd.convert` wrote.

    Attributes:
        origin: Library and class that it was, such as `zuko 1.6.0 NSF`.
        layers: What it consists of, the first nearest to the data.
    """

    kind: Literal["converted"] = "converted"
    origin: str
    layers: tuple[Layer, ...] = Field(min_length=1)

    warm_starts: ClassVar[tuple[str, ...]] = ("fold",)
    depth_power: ClassVar[float] = 0.0

    @model_validator(mode="after")
    def _has_context(self) -> ConvertedConfig:
        if self.context == "ignore":
            raise ValueError("expected a converted flow with the context that it has; got ignore")
        return self

    @property
    def transform(self) -> str:
        """`spline`, if any of its layers maps by splines; else `affine`."""
        maps = {getattr(getattr(layer, "map", None), "kind", None) for layer in self.layers}
        return "spline" if "spline" in maps else "affine"

    @property
    def sizes(self) -> dict[str, object]:
        """Its networks one after the other, in each level, their hidden units, and its levels."""
        counts, units = [0], set[int]()
        for layer in self.layers:
            if layer.kind == "squeeze":
                counts.append(0)
            elif isinstance(layer, NetworkLayer):
                counts[-1] += 1
                units |= {*hidden(layer.net)}
        levels = len(counts) - 1
        counts = counts[1:] if levels and not counts[0] else counts
        least, most = min(units, default=0), max(units, default=0)
        return {
            "depth": counts[0] if len({*counts}) == 1 else tuple(counts),
            "width": most if least == most else f"{least} to {most}",
            "levels": levels,
        }

    def build_bijectors(self) -> dict[str, Bijector]:
        """Returns the layers, in chains of those that map equally many channels."""
        context = self.context_spec.width
        body: dict[str, Bijector] = {}
        for number, (channels, names) in enumerate(self.groups()):
            chain = Chain({name: layer.build(context) for name, layer in names.items()})
            body[f"part{number}"] = chain if channels is None else Leading(chain, channels)
        return body

    def groups(self) -> Iterator[tuple[int | None, dict[str, LayerConfig]]]:
        """Yields how many channels layers that follow each other map, and these by name."""
        named = [(f"layer{number}", layer) for number, layer in enumerate(self.layers)]
        for channels, group in groupby(named, key=lambda each: each[1].channels):
            yield channels, dict(group)

    def paths(self) -> list[str]:
        """Returns where in the chain each layer lies."""
        return [
            f"part{number}.{name}"
            for number, (_, names) in enumerate(self.groups())
            for name in names
        ]

    def scaled(self, depth: float, width: float) -> Self:
        """Returns it with a share of the networks, and of their hidden units, at least 1.

        What it is a copy of saw these columns as they are.
        """
        assert self.event_shape is not None
        layers = tuple(scaled_layers(self.layers, self.event_shape, depth, width))
        return self.model_copy(update={"layers": layers, "transforms": self.transforms or ()})

    def student(self, of_steps: bool = False) -> FlowConfig:
        """Returns itself where it is couplings, which are one pass each way, else such a flow.

        Args:
            of_steps: Whether it must be one of levels of steps. Mean and scale of that are left to
                the data.
        """
        assert self.event_shape is not None
        narrowed = [widths(each.net) for each in self.layers if isinstance(each, CouplingLayer)]
        slow = any(layer.kind == "autoregressive" for layer in self.layers)
        if any(narrowed) and not slow and not of_steps:
            return self
        values = {
            key: getattr(self, key)
            for key in ("event_shape", "classes", "context_size", "context_mean", "context_scale")
        }
        values["transform"] = self.transform
        if len(self.event_shape) == 1:
            return CouplingConfig(depth=DEPTH, width=WIDTH, **values)
        levels = sum(layer.kind == "squeeze" for layer in self.layers)
        if not levels:
            raise ValueError(
                "expected a flow for the student, for none is known of latents that are not "
                "squeezed; got none: name one"
            )
        return GlowConfig(levels=levels, depth=DEPTH, width=WIDTH, **values)
