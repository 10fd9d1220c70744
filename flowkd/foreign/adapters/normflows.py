"""Flows of normflows as teachers."""

from __future__ import annotations

from typing import Any

import normflows as nf
from torch import Tensor, nn

from flowkd.flows.context import ContextSpec
from flowkd.foreign.adapters.base import Adapter


def event_shape_of(module: Any) -> tuple[int, ...]:
    """Returns the shape of one example: of a flow of pictures, what its squeezes make of."""
    if isinstance(module, nf.MultiscaleFlow):
        flows, shape = module.flows[-1], tuple(module.q0[-1].shape)
        split = 2 if len(module.q0) > 1 else 1
    else:
        flows, shape, split = module.flows, tuple(module.q0.shape), 1
    squeezes = sum(isinstance(each, nf.flows.Squeeze) for each in flows)
    if len(shape) < 3:
        return shape
    channels, height, width = shape
    return (channels * split // 4**squeezes, height * 2**squeezes, width * 2**squeezes)


def context_of(module: nn.Module, event_shape: tuple[int, ...]) -> ContextSpec:
    """Returns what a flow is conditioned on: classes of its bases, or vectors of its networks."""
    for each in module.modules():
        classes = getattr(each, "num_classes", None)
        if classes:
            return ContextSpec(classes=int(classes))
        layer = getattr(each, "context_layer", None)
        if layer is not None:
            return ContextSpec(size=layer.in_features)
    return ContextSpec()


class NormflowsTeacher(Adapter):
    """A flow of normflows."""

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_prob: Tensor = self.module.log_prob(x, *self._given(context))
        return log_prob

    def _sample(self, n: int, context: Tensor | None) -> Tensor:
        drawn: Tensor = self.module.sample(n, *self._given(context))[0]
        return drawn

    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        self._check_base()
        z, log_det = self.module.inverse_and_log_det(x, *self._given(context))
        return z, self.module.q0.log_prob(z) + log_det

    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        self._check_base()
        x: Tensor = self.module(z, *self._given(context))
        return x

    def _given(self, context: Tensor | None) -> tuple[Tensor | None, ...]:
        if isinstance(self.module, nf.MultiscaleFlow):
            return (context,)
        return () if context is None else (context,)

    def _check_base(self) -> None:
        base: Any = getattr(self.module, "q0", None)
        if type(base) is not nf.distributions.DiagGaussian:
            raise NotImplementedError
        if bool(base.loc.any()) or bool(base.log_scale.any()):
            raise NotImplementedError


TEACHER = NormflowsTeacher
