"""The layers of converted flows, as written: what each is, and its sizes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from flowkd.bijectors import (
    ActNorm,
    Bijector,
    Coupling,
    Elementwise,
    Invertible1x1,
    Logit,
    Permute,
    Squeeze,
)
from flowkd.bijectors.autoregressive import Autoregressive, Inverted
from flowkd.config import Config
from flowkd.flows.converted.nets import AnyNet, MaskedNet, Size
from flowkd.flows.converted.transforms import AnyMap


class LayerConfig(Config):
    """What all layers have in common.

    Attributes:
        channels: It maps so many leading channels, and the others pass by; default all.
    """

    kind: str
    channels: Size | None = None

    @abstractmethod
    def build(self, context: int) -> Bijector:
        """Returns the bijector with new weights, for context vectors of a size."""


class NormLayer(LayerConfig):
    """A scale and a shift of each channel, the same for every row.

    Attributes:
        size: Number of channels.
    """

    kind: Literal["norm"] = "norm"
    size: Size

    def build(self, context: int) -> ActNorm:
        """Returns the identity."""
        return ActNorm(self.size)


class LinearLayer(LayerConfig):
    """An invertible matrix over the channels.

    Attributes:
        size: Number of channels.
    """

    kind: Literal["linear"] = "linear"
    size: Size

    def build(self, context: int) -> Invertible1x1:
        """Returns a rotation."""
        return Invertible1x1(self.size)


class PermuteLayer(LayerConfig):
    """Another order of the channels.

    Attributes:
        order: Which channel comes first, second, and on.
    """

    kind: Literal["permute"] = "permute"
    order: tuple[int, ...]

    def build(self, context: int) -> Permute:
        """Returns the permutation."""
        return Permute(self.order)


class SqueezeLayer(LayerConfig):
    """Blocks of 2 x 2 places become channels."""

    kind: Literal["squeeze"] = "squeeze"

    def build(self, context: int) -> Squeeze:
        """Returns the map."""
        return Squeeze()


class LogitLayer(LayerConfig):
    """The numbers between two bounds become all numbers.

    Attributes:
        low: Lower bound.
        high: Upper bound.
    """

    kind: Literal["logit"] = "logit"
    low: float
    high: float

    def build(self, context: int) -> Logit:
        """Returns the map."""
        return Logit(self.low, self.high)


class CouplingLayer(LayerConfig):
    """Trailing channels are mapped by what a network makes of the leading ones.

    Attributes:
        kept: Number of leading channels that stay.
        net: The network.
        map: What it gives the parameters of.
    """

    kind: Literal["coupling"] = "coupling"
    kept: Size
    net: AnyNet
    map: AnyMap

    def build(self, context: int) -> Coupling:
        """Returns the coupling."""
        return Coupling(self.net.build(context), self.kept, self.map.build())


class AutoregressiveLayer(LayerConfig):
    """Each column is mapped by what a masked network makes of those before it.

    Attributes:
        net: The network.
        map: What it gives the parameters of.
        inverse: Whether the inverse is meant: z to x is then one pass.
    """

    kind: Literal["autoregressive"] = "autoregressive"
    net: MaskedNet
    map: AnyMap
    inverse: bool = False

    def build(self, context: int) -> Bijector:
        """Returns the map."""
        layer = Autoregressive(self.net.build(context), self.map.build())
        return Inverted(layer) if self.inverse else layer


class ElementwiseLayer(LayerConfig):
    """Each value is mapped by itself, in the same way for all rows, or by the context.

    Attributes:
        net: What gives the parameters: `constant`, or a network of the context alone.
        map: What it gives the parameters of.
    """

    kind: Literal["elementwise"] = "elementwise"
    net: AnyNet
    map: AnyMap

    def build(self, context: int) -> Elementwise:
        """Returns the map."""
        return Elementwise(self.net.build(0), self.map.build())


Layer = Annotated[
    NormLayer
    | LinearLayer
    | PermuteLayer
    | SqueezeLayer
    | LogitLayer
    | CouplingLayer
    | AutoregressiveLayer
    | ElementwiseLayer,
    Field(discriminator="kind"),
]
