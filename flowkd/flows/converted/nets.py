"""The networks within converted layers, as written: sizes and order, the weights are elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from flowkd.config import Config
from flowkd.nn import ConvNet
from flowkd.nn.dense import Beside, Constant, Dense, Layer
from flowkd.nn.made import MADE, Activation, ActivationName, Masked, Residual, unit_places
from flowkd.nn.residual_conv import ResidualConvNet

Size = Annotated[int, Field(ge=1)]


class LinearStep(Config):
    """A linear layer.

    Attributes:
        outputs: Values out.
        context: Whether the context adds to what it makes.
        activation: Of what the context adds; default none.
    """

    kind: Literal["linear"] = "linear"
    outputs: Size
    context: bool = False
    activation: ActivationName | None = None


class ActivationStep(Config):
    """A function of each value by itself.

    Attributes:
        name: Which one.
    """

    kind: Literal["activation"] = "activation"
    name: ActivationName


class ResidualStep(Config):
    """Adds to its input what steps make of it.

    Attributes:
        steps: In order; they keep the number of values.
        gated: Whether what they make is multiplied by a sigmoid of the context.
    """

    kind: Literal["residual"] = "residual"
    steps: tuple[Annotated[LinearStep | ActivationStep, Field(discriminator="kind")], ...]
    gated: bool = False


Step = Annotated[LinearStep | ActivationStep | ResidualStep, Field(discriminator="kind")]


class DenseNet(Config):
    """Fully connected layers.

    Attributes:
        inputs: Values in.
        steps: In order.
    """

    kind: Literal["dense"] = "dense"
    inputs: Size
    steps: tuple[Step, ...]

    def build(self, context: int) -> Dense:
        """Returns it with new weights, for context vectors of a size; at first it makes 0."""
        return Dense(_silent(_parts(self.steps, self.inputs, context)))


class MaskedNet(Config):
    """Fully connected layers under masks, which come with the weights, for columns in any order.

    Attributes:
        inputs: Columns.
        steps: In order.
    """

    kind: Literal["masked"] = "masked"
    inputs: Size
    steps: tuple[Step, ...]

    def build(self, context: int) -> MADE:
        """Returns it with new weights, the columns in their own order; at first it makes 0."""
        places = torch.arange(self.inputs)
        parts = _masked_parts(self.steps, places, context, self.inputs, ends=True)
        return MADE(_silent(parts))


class PictureNet(Config):
    """3x3, 1x1 and 3x3 convolutions.

    Attributes:
        inputs: Channels in.
        outputs: Channels out.
        width: Channels after the first.
        inner: Channels after the second.
    """

    kind: Literal["conv"] = "conv"
    inputs: Size
    outputs: Size
    width: Size
    inner: Size

    def build(self, context: int) -> ConvNet:
        """Returns it with new weights; no context is seen."""
        return ConvNet(self.inputs, self.outputs, self.width, 0, self.inner)


class ResidualPictureNet(Config):
    """A 1x1 convolution, residual blocks of two 3x3 convolutions, and a 1x1 convolution.

    Attributes:
        inputs: Channels in.
        outputs: Channels out.
        width: Channels between.
        blocks: How many blocks.
        activation: Before each of a block's convolutions.
        context: Whether the context adds to what the first makes, and gates the blocks.
    """

    kind: Literal["residual_conv"] = "residual_conv"
    inputs: Size
    outputs: Size
    width: Size
    blocks: Annotated[int, Field(ge=0)]
    activation: ActivationName
    context: bool = False

    def build(self, context: int) -> ResidualConvNet:
        """Returns it with new weights, for context vectors of a size."""
        sizes = self.inputs, self.outputs, self.width, self.blocks
        return ResidualConvNet(*sizes, self.activation, context if self.context else 0)


class ConstantNet(Config):
    """The same parameters for every row.

    Attributes:
        outputs: Values out.
    """

    kind: Literal["constant"] = "constant"
    outputs: Size

    def build(self, context: int) -> Constant:
        """Returns it with parameters of zero."""
        return Constant(self.outputs)


class BesideNet(Config):
    """Networks of the same inputs, their outputs one after the other.

    Attributes:
        networks: In the order of their outputs.
    """

    kind: Literal["beside"] = "beside"
    networks: tuple[Annotated[DenseNet | ConstantNet, Field(discriminator="kind")], ...]

    def build(self, context: int) -> Beside:
        """Returns it with new weights."""
        return Beside([each.build(context) for each in self.networks])


Net = DenseNet | PictureNet | ResidualPictureNet | ConstantNet | BesideNet
AnyNet = Annotated[Net, Field(discriminator="kind")]


def _silent(parts: Iterable[nn.Module]) -> list[nn.Module]:
    """Returns parts of which the last linear layer makes 0."""
    made = list(parts)
    last = next(part for part in reversed(made) if isinstance(part, Layer | Masked))
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return made


def _parts(
    steps: Sequence[LinearStep | ActivationStep | ResidualStep], inputs: int, context: int
) -> Iterator[nn.Module]:
    for step in steps:
        if isinstance(step, ActivationStep):
            yield Activation(step.name)
        elif isinstance(step, ResidualStep):
            inner = list(_parts(step.steps, inputs, context))
            yield Residual(inner, (context, inputs) if step.gated else None)
        else:
            seen = context if step.context else 0
            yield Layer(inputs, step.outputs, seen, activation=step.activation)
            inputs = step.outputs


def _masked_parts(
    steps: Sequence[LinearStep | ActivationStep | ResidualStep],
    places: Tensor,
    context: int,
    columns: int,
    *,
    ends: bool,
) -> Iterator[nn.Module]:
    """Yields modules of steps whose inputs depend on columns up to these places.

    Args:
        steps: In order.
        places: Of each input.
        context: Size of the context vector.
        columns: How many there are.
        ends: Whether the last linear step gives the parameters of the columns.
    """
    last = max(number for number, step in enumerate(steps) if isinstance(step, LinearStep))
    for number, step in enumerate(steps):
        if isinstance(step, ActivationStep):
            yield Activation(step.name)
        elif isinstance(step, ResidualStep):
            inner = list(_masked_parts(step.steps, places, context, columns, ends=False))
            yield Residual(inner, (context, len(places)) if step.gated else None)
        else:
            if ends and number == last:
                mask = torch.arange(step.outputs)[:, None] % columns > places
            else:
                units = unit_places(columns, step.outputs)
                mask, places = (units[:, None] >= places) & (columns > 1), units
            seen = context if step.context else 0
            yield Masked(mask, seen, activation=step.activation, context_bias=True, kept=True)
