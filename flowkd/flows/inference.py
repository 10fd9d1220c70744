"""The inference form of a flow: the same density in fewer operations, without gradients."""

from __future__ import annotations

import copy
import math
from functools import singledispatch

import torch
from torch import nn

from flowkd.bijectors import (
    ActNorm,
    Autoregressive,
    Bijector,
    Chain,
    Coupling,
    Inverted,
    Invertible1x1,
    Leading,
    LinearMap,
    Shape,
)
from flowkd.flows.engine.choose import EngineName, choose_engine
from flowkd.flows.fast_layers import (
    Convolved,
    Mix,
    TransposedResidual,
    UnrolledNet,
    UnrolledPrior,
)
from flowkd.flows.flow import Flow
from flowkd.nn import MLP, Conditioner, ConvNet, ResidualMLP, SplitPrior

# Up to here one product with a matrix over all places takes less time than a 3x3 convolution: a
# network at 2x2 takes a quarter to two thirds of it, at 4x4 a half to all of it, for 1 to 256 rows
# on one CPU thread. At 8x8, or with matrices too large for a core's cache, it takes more.
UNROLLED_PLACES = 16
UNROLLED_VALUES = 2**19


def for_inference(flow: Flow, engine: EngineName = "auto") -> Flow:
    """Returns a flow of the same density that is faster and has no gradients.

    ActNorm and the linear map after it become one, whose inverse and log_det are kept; conditioners
    over few places become matrix products. What is computed once is computed in float64. It shares
    nothing with the given flow. Its taps are those that are left, its number of parameters is
    another, and it has no config.

    ONNX Runtime then computes it, `pip install 'flowkd[onnx]'`: its graphs are built at the first
    call for these weights, which takes seconds, and kept on this machine. Answers of two engines
    differ by rounding; where taps, or gradients with respect to x, are asked for, torch computes.

    Args:
        flow: Of any dtype and device, which stay.
        engine: `onnx` for a flow in float32 on a CPU, `torch` for any; `auto` is the former where
            it can be, and torch, with a warning that says why, where not.

    Raises:
        EngineError: `onnx` is asked for, and cannot compute this flow here.

    Examples:
        >>> flow = flowkd.coupling(6, depth=2, width=8)
        >>> fast = flowkd.for_inference(flow, engine="torch")
        >>> x = flow.sample(4)
        >>> torch.allclose(fast.log_prob(x), flow.log_prob(x), atol=1e-4)
        True
    """
    like = next(flow.parameters())
    exact = copy.deepcopy(flow).double()
    with torch.no_grad():
        chain = inference_form(exact.chain, exact.event_shape)
    assert isinstance(chain, Chain)
    fast = Flow(chain, flow.event_shape, flow.context, exact.context_units)
    fast = fast.to(like).requires_grad_(False).eval()
    fast.bins, fast.columns, fast.context_range = flow.bins, flow.columns, flow.context_range
    fast.engine = choose_engine(flow, fast, engine)
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
def _(bijector: Autoregressive, shape: Shape) -> Bijector:
    return bijector.for_inference()


@inference_form.register
def _(bijector: Inverted, shape: Shape) -> Bijector:
    return Inverted(inference_form(bijector.bijector, shape))


@inference_form.register
def _(bijector: Coupling, shape: Shape) -> Bijector:
    kept = (bijector.kept, *shape[1:])
    return Coupling(fast_conditioner(bijector.conditioner, kept), bijector.kept, bijector.transform)


@inference_form.register
def _(bijector: Invertible1x1, shape: Shape) -> Bijector:
    return Mix(ActNorm(shape[0]).double(), bijector, shape)


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


@fast_conditioner.register
def _(conditioner: ResidualMLP, shape: Shape) -> Conditioner:
    return TransposedResidual(conditioner)


def few_places(conditioner: Conditioner, shape: Shape) -> bool:
    """Tells whether matrix products over all places take less time than convolutions."""
    places = math.prod(shape[1:])
    values = [
        layer.in_channels * layer.out_channels * places**2
        for layer in conditioner.modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
    ]
    return places <= UNROLLED_PLACES and max(values, default=0) <= UNROLLED_VALUES
