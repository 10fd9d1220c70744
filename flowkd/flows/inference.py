"""The inference form of a flow: the same density in fewer operations, without gradients."""

from __future__ import annotations

import copy
import math
from functools import singledispatch

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu_

from flowkd.bijectors import (
    ActNorm,
    AffineCoupling,
    Bijector,
    Chain,
    Leading,
    LinearMap,
    Shape,
)
from flowkd.flows.flow import Flow
from flowkd.nn import MLP, Conditioner, ConvNet, SplitPrior

# Up to here one product with a matrix over all places takes less time than a 3x3 convolution: a
# network at 2x2 takes a quarter to two thirds of it, at 4x4 a half to all of it, for 1 to 256 rows
# on one CPU thread. At 8x8, or with matrices too large for a core's cache, it takes more.
UNROLLED_PLACES = 16
UNROLLED_VALUES = 2**19
# And here one product over all places takes less than one for each row.
UNROLLED_MIX_PLACES = 4


def for_inference(flow: Flow) -> Flow:
    """Returns a flow of the same density that is faster and has no gradients.

    ActNorm and the linear map after it become one, whose inverse and log_det are kept; conditioners
    over few places become matrix products. What is computed once is computed in float64. It shares
    nothing with the given flow. Its taps are those that are left, its number of parameters is
    another, and it has no config.

    Args:
        flow: Of any dtype and device, which stay.

    Example:
        >>> flow = flowkd.coupling(6, depth=2, width=8)
        >>> fast = flowkd.for_inference(flow)
        >>> x = flow.sample(4)
        >>> torch.allclose(fast.log_prob(x), flow.log_prob(x), atol=1e-4)
        True
    """
    like = next(flow.parameters())
    exact = copy.deepcopy(flow).double()
    with torch.no_grad():
        chain = inference_form(exact.chain, exact.event_shape)
    assert isinstance(chain, Chain)
    fast = Flow(chain, flow.event_shape, flow.context).to(like).requires_grad_(False).eval()
    fast.bins = flow.bins
    return fast


@singledispatch
def inference_form(bijector: Bijector, shape: Shape) -> Bijector:
    """Returns a bijector of the same function that is faster; itself where none is registered.

    A family registers those of its own layers: `@inference_form.register`.

    Args:
        bijector: In float64.
        shape: Event shape of its x.
    """
    return bijector


@inference_form.register
def _(bijector: Leading, shape: Shape) -> Bijector:
    inner = inference_form(bijector.bijector, (bijector.channels, *shape[1:]))
    return Leading(inner, bijector.channels)


@inference_form.register
def _(bijector: AffineCoupling, shape: Shape) -> Bijector:
    kept = (bijector.kept, *shape[1:])
    return AffineCoupling(fast_conditioner(bijector.conditioner, kept), bijector.kept)


@inference_form.register
def _(bijector: Chain, shape: Shape) -> Bijector:
    fused: dict[str, Bijector] = {}
    before: Bijector | None = None
    for name, inner in bijector.items():
        if isinstance(before, ActNorm) and isinstance(inner, LinearMap):
            fused.popitem()
            fused[name] = Mix(before, inner, shape)
        else:
            fused[name] = inference_form(inner, shape)
        before, shape = inner, inner.output_shape(shape)
    return Chain(fused)


@singledispatch
def fast_conditioner(conditioner: Conditioner, shape: Shape) -> Conditioner:
    """Returns a conditioner of the same function that is faster; itself if none is registered.

    Args:
        conditioner: In float64.
        shape: (A, *rest) of what it sees.
    """
    return conditioner


@fast_conditioner.register
def _(conditioner: ConvNet | MLP, shape: Shape) -> Conditioner:
    few = few_places(conditioner, shape)
    return UnrolledNet(conditioner, shape) if few else Convolved(conditioner)


@fast_conditioner.register
def _(conditioner: SplitPrior, shape: Shape) -> Conditioner:
    few = few_places(conditioner, shape)
    return UnrolledPrior(conditioner, shape) if few else Convolved(conditioner)


def few_places(conditioner: Conditioner, shape: Shape) -> bool:
    """Tells whether matrix products over all places take less time than convolutions."""
    places = math.prod(shape[1:])
    values = [
        layer.in_channels * layer.out_channels * places**2
        for layer in conditioner.modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
    ]
    return places <= UNROLLED_PLACES and max(values, default=0) <= UNROLLED_VALUES


class Mix(Bijector):
    """ActNorm and a linear map over the channels in one: z = W x + b.

    Args:
        norm: Comes first.
        mix: Comes second.
        shape: Event shape of x.
    """

    def __init__(self, norm: ActNorm, mix: LinearMap, shape: Shape) -> None:
        super().__init__()
        columns, log_det = mix(torch.eye(len(norm.bias)).to(norm.bias))
        weight = columns.T * norm.log_scale.exp()
        places = math.prod(shape[1:])
        self.there = ChannelMap(weight, weight @ norm.bias, places)
        self.back = ChannelMap(torch.linalg.inv(weight), -norm.bias, places)
        self.log_det = nn.Parameter((norm.log_scale.sum() + log_det[0]) * places)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mixes the channels."""
        return self.there(x), self.log_det.expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes it."""
        return self.back(z), -self.log_det.expand(len(z))


class ChannelMap(nn.Module):
    """Returns W x + b over the channels of each place, for x of (B, C, *rest).

    Args:
        weight: W, (C, C).
        bias: b, (C,).
        places: Height times width; 1 for tables.
    """

    def __init__(self, weight: Tensor, bias: Tensor, places: int) -> None:
        super().__init__()
        self.unrolled = places <= UNROLLED_MIX_PLACES
        if self.unrolled:
            every = torch.eye(places).to(weight)
            self.weight = nn.Parameter(torch.kron(weight.contiguous(), every).T.contiguous())
            self.bias = nn.Parameter(bias.repeat_interleave(places))
        else:
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, *rest) to the same shape."""
        if self.unrolled:
            return torch.addmm(self.bias, x.flatten(1), self.weight).view(x.shape)
        weight = self.weight.expand(len(x), -1, -1)
        return torch.baddbmm(self.bias, weight, x.flatten(2)).view(x.shape)


class Convolved(Conditioner):
    """A conditioner whose output is laid out as its couplings' state: channel by channel.

    Args:
        conditioner: What it does the same as.
    """

    def __init__(self, conditioner: Conditioner) -> None:
        super().__init__()
        self.conditioner = conditioner

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, A, H, W) to (B, outputs, H, W)."""
        made: Tensor = self.conditioner(kept, context)
        return made.contiguous()


class UnrolledNet(Conditioner):
    """A ConvNet or MLP as three matrix products, each of them over all places.

    Args:
        net: What it does the same as.
        shape: (A, *rest) of what it sees.
    """

    def __init__(self, net: ConvNet | MLP, shape: Shape) -> None:
        super().__init__()
        inner, width = net.middle.weight.shape[:2]
        places = math.prod(shape[1:])
        first = unrolled(net.first.weight, shape).unflatten(1, (width, places))
        last = unrolled(net.last.weight, (inner, *shape[1:])).unflatten(0, (inner, places))
        # Between, the channels of a place lie side by side, so that the middle is one product too.
        self.first = nn.Parameter(first.mT.flatten(1).contiguous())
        self.first_bias = nn.Parameter(_bias(net.first).repeat(places))
        self.middle = nn.Parameter(net.middle.weight.flatten(1).T.contiguous())
        self.middle_bias = nn.Parameter(_bias(net.middle))
        self.last = nn.Parameter(last.transpose(0, 1).flatten(0, 1).contiguous())
        self.last_bias = nn.Parameter(_bias(net.last).repeat_interleave(places))
        self.context = net.context

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, A, *rest) to (B, outputs, *rest)."""
        hidden = torch.addmm(self.first_bias, kept.flatten(1), self.first)
        hidden = hidden.view(len(kept), -1, len(self.middle))
        if self.context is not None:
            hidden = hidden + self.context(context)[:, None]
        middle = torch.addmm(self.middle_bias, relu_(hidden).flatten(0, 1), self.middle)
        made = torch.addmm(self.last_bias, relu_(middle).view(len(kept), -1), self.last)
        return made.view(len(kept), -1, *kept.shape[2:])


class UnrolledPrior(Conditioner):
    """A SplitPrior as one matrix product over all places.

    Args:
        prior: What it does the same as.
        shape: (A, H, W) of what it sees.
    """

    def __init__(self, prior: SplitPrior, shape: Shape) -> None:
        super().__init__()
        self.last = nn.Parameter(unrolled(prior.last.weight, shape))
        self.bias = nn.Parameter(_bias(prior.last).repeat_interleave(math.prod(shape[1:])))
        self.context = prior.context

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, A, H, W) to (B, outputs, H, W)."""
        made = torch.addmm(self.bias, kept.flatten(1), self.last)
        made = made.view(len(kept), -1, *kept.shape[2:])
        return made if self.context is None else made + self.context(context)[:, :, None, None]


def unrolled(weight: Tensor, shape: Shape) -> Tensor:
    """Returns the matrix of a linear layer, or of a 3x3 convolution padded with zeros.

    Its rows are what the layer makes of each value of x alone. It has (in, out) contiguous: torch
    is up to a third faster so than with the (out, in) of its own layers.

    Args:
        weight: (O, C) or (O, C, 3, 3).
        shape: (C, *rest) of x; the matrix is (C * prod(rest), O * prod(rest)).
    """
    if weight.dim() == 2:
        return weight.T.contiguous()
    size = math.prod(shape)
    impulses = torch.eye(size).to(weight).view(size, *shape)
    return conv2d(impulses, weight, padding=1).flatten(1).contiguous()


def _bias(layer: nn.Linear | nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
