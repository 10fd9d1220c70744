"""Flows of zuko as teachers."""

from __future__ import annotations

from typing import Any

import torch
import zuko
from torch import Tensor

from flowkd.flows.context import ContextSpec
from flowkd.foreign.adapters.base import Adapter


def event_shape_of(module: Any) -> tuple[int, ...]:
    """Returns the shape of one example, by the base."""
    return tuple(module.base().event_shape)


def context_of(module: Any, event_shape: tuple[int, ...]) -> ContextSpec:
    """Returns what a flow is conditioned on: vectors of a size, by its networks' inputs."""
    for each in module.modules():
        hyper = getattr(each, "hyper", None)
        if hyper is not None and hasattr(hyper, "in_features"):
            own = event_shape[0] if hasattr(each, "order") else 0
            if hasattr(each, "mask"):
                own = int(each.mask.sum())
            return ContextSpec(size=max(0, hyper.in_features - own))
        if isinstance(each, zuko.flows.FFJTransform):
            inner = each.ode[0].in_features
            frequencies = 2 * len(each.freqs)
            return ContextSpec(size=max(0, inner - event_shape[0] - frequencies))
    return ContextSpec()


class ZukoTeacher(Adapter):
    """A flow of zuko."""

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_prob: Tensor = self.module(context).log_prob(x)
        return log_prob

    def _sample(self, n: int, context: Tensor | None) -> Tensor:
        drawn: Tensor = self.module(context).sample(() if context is not None else (n,))
        return drawn

    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        dist = self.module(context)
        self._check_base(dist)
        z, log_det = dist.transform.call_and_ladj(x)
        return z, dist.base.log_prob(z) + log_det

    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        dist = self.module(context)
        self._check_base(dist)
        x: Tensor = dist.transform.inv(z)
        return x

    def _check_base(self, dist: Any) -> None:
        base = dist.base
        if not isinstance(base, zuko.distributions.DiagNormal):
            raise NotImplementedError
        normal = base.base_dist
        if bool((normal.loc != 0).any()) or not bool(torch.all(normal.scale == 1)):
            raise NotImplementedError


TEACHER = ZukoTeacher
