"""The form of a flow that is exported: few operations, which runtimes know how to fuse.

What costs time in torch costs none in a runtime, and the other way round: convolutions stay
convolutions, also over few places, log-determinants that depend on no row are one number for the
whole flow, and the others are summed once.
"""

from __future__ import annotations

import copy
import math
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from flowkd.bijectors import (
    ActNorm,
    Affine,
    Autoregressive,
    Bijector,
    Chain,
    Coupling,
    Inverted,
    Invertible1x1,
    Leading,
    LinearMap,
    Shape,
    Squeeze,
    Standardize,
)
from flowkd.bijectors.scales import TanhScale
from flowkd.flows.context import ContextSpec, ContextUnits, context_vectors
from flowkd.flows.engine.steps import Call, Partial, Parts, Piece, Step, Steps
from flowkd.flows.fast_layers import Mix
from flowkd.flows.flow import LOG_TWO_PI, Flow
from flowkd.nn import MLP, Conditioner, ConvNet, SplitPrior

# Of the log-scale of an affine coupling.
LARGEST = TanhScale().bound


class AsItIs(Piece):
    """Any bijector.

    Args:
        bijector: In float64.
        shape: Event shape of its x, where its log_det is the same for every row; default it is not.
    """

    def __init__(self, bijector: Bijector, shape: Shape | None = None) -> None:
        super().__init__()
        self.bijector = bijector
        self.depends_on_x = shape is None
        if shape is not None:
            log_det = bijector(torch.zeros(1, *shape, dtype=torch.float64))[1]
            self.constant = log_det.item()

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Parts]:
        """Maps x to z."""
        z, log_det = self.bijector(x, context)
        return z, [log_det[:, None]] if self.depends_on_x else []

    def inverse(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Maps z to x."""
        x: Tensor = self.bijector.inverse(z, context)[0]
        return x


class Mixed(Piece):
    """ActNorm and a linear map over the channels, as one 1x1 convolution or product.

    Args:
        norm: Comes first.
        mix: Comes second.
        shape: Event shape of x.
    """

    def __init__(self, norm: ActNorm, mix: LinearMap, shape: Shape) -> None:
        super().__init__()
        fused = Mix(norm, mix, shape[:1])  # of one place
        self.constant = fused.log_det.item() * math.prod(shape[1:])
        ones = [1] * (len(shape) - 1)  # the size of a convolution's kernel, none for a product
        self.there = nn.Parameter(fused.there.weight.T.contiguous().view(*shape[:1] * 2, *ones))
        self.back = nn.Parameter(fused.back.weight.T.contiguous().view(*shape[:1] * 2, *ones))
        self.there_bias, self.back_bias = fused.there.bias, fused.back.bias
        self.apply_weight = conv2d if ones else linear

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Parts]:
        """Maps x to z."""
        return self.apply_weight(x, self.there, self.there_bias), []

    def inverse(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Maps z to x."""
        return self.apply_weight(z, self.back, self.back_bias)


class Coupled(Piece):
    """An affine coupling whose conditioner gives the argument of its tanh itself.

    Args:
        coupling: In float64.
    """

    def __init__(self, coupling: Coupling) -> None:
        super().__init__()
        self.kept = coupling.kept
        self.conditioner = exported_net(coupling.conditioner)

    def _parameters_for(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        shift, raw = self.conditioner(kept, context).chunk(2, dim=1)
        return shift, raw.tanh()

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Parts]:
        """Maps x to z."""
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        shift, bounded = self._parameters_for(kept, context)
        log_scale = LARGEST * bounded
        z = torch.cat([kept, changed * log_scale.exp() + shift], dim=1)
        return z, [log_scale.sum(tuple(range(1, x.dim())))[:, None]]

    def inverse(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Maps z to x."""
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        shift, bounded = self._parameters_for(kept, context)
        return torch.cat([kept, (changed - shift) * (-LARGEST * bounded).exp()], dim=1)


class Convolutions(nn.Module):
    """A ConvNet as convolutions and ReLUs alone.

    Args:
        net: What it does the same as.
    """

    def __init__(self, net: ConvNet) -> None:
        super().__init__()
        self.first, self.middle, self.last = net.first, net.middle, net.last
        self.context = net.context

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        hidden = self.first(kept)
        if self.context is not None:
            hidden = hidden + self.context(context)[:, :, None, None]
        return self.last(self.middle(hidden.relu()).relu())


class HalfScale(nn.Module):
    """Divides the second half of the channels by the bound of a log-scale.

    Args:
        conditioner: Of somebody's own.
    """

    def __init__(self, conditioner: Conditioner) -> None:
        super().__init__()
        self.conditioner = conditioner

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, A, *rest) and context (B, c) to (B, outputs, *rest)."""
        shift, raw = self.conditioner(kept, context).chunk(2, dim=1)
        return torch.cat([shift, raw / LARGEST], dim=1)


@singledispatch
def exported_net(conditioner: Conditioner) -> nn.Module:
    """Returns the network of a coupling with the second half of its outputs over the bound.

    Args:
        conditioner: In float64; it is used up.
    """
    return HalfScale(conditioner)


@exported_net.register
def _(conditioner: ConvNet | MLP | SplitPrior) -> nn.Module:
    last = conditioner.last
    half = last.weight.shape[0] // 2
    assert last.bias is not None
    for values in (last.weight, last.bias):
        values[half:] /= LARGEST
    if isinstance(conditioner, SplitPrior) and conditioner.context is not None:
        conditioner.context.weight[half:] /= LARGEST
    return Convolutions(conditioner) if isinstance(conditioner, ConvNet) else conditioner


@singledispatch
def exported(bijector: Bijector, shape: Shape) -> Step:
    """Returns a bijector as a step of the exported form.

    Args:
        bijector: In float64; it is used up.
        shape: Event shape of its x.
    """
    return AsItIs(bijector)


@exported.register
def _(bijector: Standardize | Squeeze | LinearMap | ActNorm, shape: Shape) -> Step:
    return AsItIs(bijector, shape)


@exported.register
def _(bijector: Invertible1x1, shape: Shape) -> Step:
    return Mixed(ActNorm(shape[0]).double(), bijector, shape)


@exported.register
def _(bijector: Coupling, shape: Shape) -> Step:
    return Coupled(bijector) if bijector.transform == Affine() else AsItIs(bijector)


@exported.register
def _(bijector: Autoregressive, shape: Shape) -> Step:
    return AsItIs(_unfrozen(bijector))


@exported.register
def _(bijector: Inverted, shape: Shape) -> Step:
    inner = bijector.bijector
    if isinstance(inner, Autoregressive):
        return AsItIs(Inverted(_unfrozen(inner)))
    return AsItIs(bijector)


def _unfrozen(bijector: Autoregressive) -> Autoregressive:
    """Returns its form for inference, which here keeps nothing that was computed of weights."""
    fast = bijector.for_inference()
    fast.frozen = False
    return fast


@exported.register
def _(bijector: Leading, shape: Shape) -> Step:
    inner = exported(bijector.bijector, (bijector.channels, *shape[1:]))
    return Partial(inner, bijector.channels)


@exported.register
def _(bijector: Chain, shape: Shape) -> Step:
    steps: list[Step] = []
    before: Bijector | None = None
    for _, inner in bijector.items():
        if isinstance(before, ActNorm) and isinstance(inner, LinearMap):
            steps[-1] = Mixed(before, inner, shape)
        else:
            steps.append(exported(inner, shape))
        before, shape = inner, inner.output_shape(shape)
    return Steps(steps)


class Vectors(nn.Module):
    """A context as the vectors that conditioners see, in float32.

    Args:
        context: What it is.
        units: Of vectors, or None.
    """

    def __init__(self, context: ContextSpec, units: ContextUnits | None) -> None:
        super().__init__()
        self.context, self.units = context, units

    def forward(self, context: Tensor) -> tuple[Tensor]:
        """Maps classes (B,) or vectors (B, size) to (B, width)."""
        like = torch.zeros((), device=context.device)
        vectors = context_vectors(self.context, self.units, context, like)
        assert vectors is not None
        return (vectors,)


class LogDensity(nn.Module):
    """The log-density of latents, and of what led to them.

    Args:
        constant: What is added for every row.
    """

    constant: Tensor

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.register_buffer("constant", torch.tensor(constant))

    def forward(self, z: Tensor, *parts: Tensor) -> tuple[Tensor]:
        """Maps latents and parts of log_det, (B, 1) each, to nats, (B,)."""
        squares = z.square().sum(tuple(range(1, z.dim())))
        log_det = torch.cat(parts, dim=1).sum(1) if parts else 0.0
        return (log_det - 0.5 * squares + self.constant,)


def at_once(module: nn.Module, *values: Tensor | None) -> Any:
    """Returns what a module makes of values."""
    return module(*values)


class Exported(nn.Module):
    """A flow in the form that is exported, in float32, without gradients.

    Args:
        flow: Of any dtype; it is not changed.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        exact = copy.deepcopy(flow).cpu().double().requires_grad_(False)
        self.steps = exported(exact.chain, exact.event_shape).float()
        self.vectors = Vectors(exact.context, exact.context_units)
        constant = self.steps.constant - 0.5 * LOG_TWO_PI * flow.dimensions
        self.density = LogDensity(constant)
        for step in self.steps.modules():
            if isinstance(step, Step):
                step.constant = 0.0  # counted above; steps that differ in it alone are alike
        self.eval().requires_grad_(False)

    def log_prob(
        self, x: Tensor, context: Tensor | None, call: Call = at_once
    ) -> tuple[Tensor, Tensor]:
        """Returns log p(x | context) in nats, (B,), and z."""
        z, parts = self.steps.to_latents(call, x, self._vectors(context, call))
        (log_prob,) = call(self.density, z, *parts)
        return log_prob, z

    def inverse(self, z: Tensor, context: Tensor | None, call: Call = at_once) -> Tensor:
        """Returns x."""
        return self.steps.to_data(call, z, self._vectors(context, call))

    def _vectors(self, context: Tensor | None, call: Call) -> Tensor | None:
        if context is None:
            return None
        (vectors,) = call(self.vectors, context)
        made: Tensor = vectors
        return made
