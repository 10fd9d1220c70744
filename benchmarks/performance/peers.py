"""Flows of other libraries, of the same number of couplings and networks of the same size.

Each library is imported when one of its flows is built. Networks have two hidden layers where a
library lets them be chosen; where it has residual blocks alone, one of these, a layer more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

BINS, BOUND = 8, 5.0  # of splines; zuko knows no other bound
PEERS = ("normflows", "nflows", "zuko")


@dataclass(frozen=True)
class Contender:
    """A flow of a library.

    Attributes:
        module: Holds its parameters.
        log_prob: Of rows, (B,).
        sample: Draws so many rows.
    """

    module: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int], object]


@dataclass(frozen=True)
class Size:
    """What all libraries have in common.

    Attributes:
        shape: Of one example.
        width: Of the two hidden layers of each network.
        depth: Steps; of a picture's flow, in each level.
        levels: Of a picture's flow.
    """

    shape: tuple[int, ...]
    width: int
    depth: int
    levels: int = 1

    @property
    def features(self) -> int:
        """Values of one example."""
        return math.prod(self.shape)


def versions() -> dict[str, str]:
    """Returns the versions of the libraries."""
    return {name: version(name) for name in PEERS}


def normflows_glow(size: Size) -> Contender:
    """Glow; its factored-out channels have a learned Gaussian, flowkd's a network besides."""
    import normflows

    channels, height, width = size.shape
    bases, merges, flows = [], [], []
    for level in range(size.levels):
        number = channels * 2 ** (size.levels + 1 - level)
        steps = [
            normflows.flows.GlowBlock(number, size.width, split_mode="channel", scale=True)
            for _ in range(size.depth)
        ]
        flows.append([*steps, normflows.flows.Squeeze()])
        places = 2 ** (size.levels - level)
        latent = (number if level == 0 else number // 2, height // places, width // places)
        merges += [normflows.flows.Merge()] if level else []
        bases.append(normflows.distributions.DiagGaussian(latent, trainable=False))
    flow = normflows.MultiscaleFlow(bases, flows, merges, class_cond=False)
    return Contender(flow, lambda x: flow.log_prob(x, None), flow.sample)


def normflows_table(kind: str) -> Callable[[Size], Contender]:
    """Returns what builds normflows' flow of a kind for tables.

    Its own wrappers of splines have residual networks alone, and its maps say what z becomes: its
    masked affine map is fast from z to x.
    """

    def build(size: Size) -> Contender:
        import normflows
        from normflows.flows.neural_spline import autoregressive, coupling

        features, kept = size.features, (size.features + 1) // 2
        spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
        masked = {"num_blocks": 1, "use_residual_blocks": False}
        reverse = normflows.flows.Reverse

        class Network(normflows.nets.MLP):
            """Two hidden layers; a spline gives it a context, here none."""

            def forward(self, x: Tensor, context: None = None) -> Tensor:
                """Maps what is kept to parameters."""
                return super().forward(x)

        def network(inputs: int, outputs: int) -> nn.Module:
            return Network([inputs, size.width, size.width, outputs])

        def affine() -> Any:
            return normflows.flows.MaskedAffineAutoregressive(features, size.width, **masked)

        steps: dict[str, Callable[[], Any]] = {
            "coupling": lambda: normflows.flows.AffineCouplingBlock(
                network(kept, 2 * (features - kept))
            ),
            "coupling spline": lambda: reverse(
                coupling.PiecewiseRationalQuadraticCoupling(
                    (torch.arange(features) + 1) % 2, network, **spline
                )
            ),
            "autoregressive": lambda: reverse(affine()),
            "autoregressive spline": lambda: reverse(
                autoregressive.MaskedPiecewiseRationalQuadraticAutoregressive(
                    features, size.width, **masked, **spline
                )
            ),
            "inverse autoregressive": affine,
        }
        flows = []
        for _ in range(size.depth):
            flows += [steps[kind](), normflows.flows.Permute(features, mode="swap")]
        base = normflows.distributions.DiagGaussian(features, trainable=False)
        flow = normflows.NormalizingFlow(base, flows)
        return Contender(flow, flow.log_prob, flow.sample)

    return build


def nflows_table(kind: str) -> Callable[[Size], Contender]:
    """Returns what builds nflows' flow of a kind for tables."""

    def build(size: Size) -> Contender:
        from nflows import transforms
        from nflows.distributions.normal import StandardNormal
        from nflows.flows.base import Flow
        from nflows.nn.nets import MLP

        class Network(MLP):
            """Two hidden layers; a transform gives it a context, here none."""

            def forward(self, inputs: Tensor, context: None = None) -> Tensor:
                """Maps what is kept to parameters."""
                return super().forward(inputs)

        def network(inputs: int, outputs: int) -> nn.Module:
            return Network([inputs], [outputs], [size.width, size.width])

        features = size.features
        spline = {"num_bins": BINS, "tails": "linear", "tail_bound": BOUND}
        masked = {"num_blocks": 1, "use_residual_blocks": False}
        steps: list[Any] = []
        for number in range(size.depth):
            mask = (torch.arange(features) + number) % 2
            if kind == "coupling":
                steps.append(transforms.AffineCouplingTransform(mask, network))
            elif kind == "coupling spline":
                steps.append(
                    transforms.PiecewiseRationalQuadraticCouplingTransform(mask, network, **spline)
                )
            elif kind.endswith("autoregressive"):
                step = transforms.MaskedAffineAutoregressiveTransform(
                    features, size.width, **masked
                )
                inverse = kind.startswith("inverse")
                steps.append(transforms.InverseTransform(step) if inverse else step)
            else:
                steps.append(
                    transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                        features, size.width, **masked, **spline
                    )
                )
            if not kind.startswith("coupling"):
                steps.append(transforms.ReversePermutation(features))
        flow = Flow(transforms.CompositeTransform(steps), StandardNormal([features]))
        return Contender(flow, flow.log_prob, flow.sample)

    return build


def zuko_table(kind: str) -> Callable[[Size], Contender]:
    """Returns what builds zuko's flow of a kind for tables."""

    def build(size: Size) -> Contender:
        import zuko

        common = {"transforms": size.depth, "hidden_features": (size.width, size.width)}
        if kind == "coupling":
            flow = zuko.flows.RealNVP(size.features, **common)
        elif kind == "coupling spline":
            flow = zuko.flows.NICE(
                size.features,
                univariate=zuko.transforms.MonotonicRQSTransform,
                shapes=[(BINS,), (BINS,), (BINS - 1,)],
                **common,
            )
        elif kind == "autoregressive":
            flow = zuko.flows.MAF(size.features, **common)
        elif kind == "inverse autoregressive":
            flow = zuko.flows.MAF(size.features, **common)
            flow = zuko.flows.Flow(flow.transform.inv, flow.base)
        else:
            flow = zuko.flows.NSF(size.features, bins=BINS, **common)
        return Contender(flow, lambda x: flow().log_prob(x), lambda count: flow().sample((count,)))

    return build
