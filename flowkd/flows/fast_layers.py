"""Layers of the form for inference: the function of a slower one in fewer operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, relu_

from flowkd.bijectors import ActNorm, Bijector, LinearMap, Shape
from flowkd.nn import MLP, Conditioner, ConvNet, ResidualMLP, SplitPrior

# Up to so many places one product over all of them takes less time than one for each row.
UNROLLED_MIX_PLACES = 4


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
        return self.there(x), self.log_det.expand(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes it."""
        return self.back(z), -self.log_det.expand(z.shape[0])


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
        weight = self.weight.expand(x.shape[0], -1, -1)
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
        hidden = hidden.view(kept.shape[0], -1, self.middle.shape[0])
        if self.context is not None:
            hidden = hidden + self.context(context)[:, None]
        middle = torch.addmm(self.middle_bias, relu_(hidden).flatten(0, 1), self.middle)
        made = torch.addmm(self.last_bias, relu_(middle).view(kept.shape[0], -1), self.last)
        return made.view(kept.shape[0], -1, *kept.shape[2:])


class TransposedResidual(Conditioner):
    """A ResidualMLP whose matrices lie as products read them best: (in, out), contiguous.

    Args:
        net: What it does the same as.
    """

    def __init__(self, net: ResidualMLP) -> None:
        super().__init__()
        self.first, self.last = Transposed(net.first), Transposed(net.last)
        self.inner = nn.ModuleList(Transposed(block.first) for block in net.layers())
        self.outer = nn.ModuleList(Transposed(block.last) for block in net.layers())
        self.gates = nn.ModuleList(
            Transposed(block.gate) for block in net.layers() if block.gate is not None
        )
        self.context = net.context

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, A) to (B, outputs)."""
        hidden = self.first(kept)
        if self.context is not None:
            hidden = hidden + self.context(context)
        for number, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            added = outer(relu_(inner(hidden.relu())))
            if self.gates:
                hidden = torch.addcmul(hidden, added, self.gates[number](context).sigmoid_())
            else:
                hidden = hidden + added
        made: Tensor = self.last(hidden)
        return made


class Transposed(nn.Module):
    """A linear layer whose matrix is (in, out), contiguous.

    Args:
        layer: What it does the same as.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(layer.weight.T.contiguous()), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in) to (B, out)."""
        return torch.addmm(self.bias, x, self.weight)


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
        made = made.view(kept.shape[0], -1, *kept.shape[2:])
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
