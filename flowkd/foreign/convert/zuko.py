"""Flows of zuko."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import zuko
from torch import Tensor, nn
from zuko.flows import autoregressive, coupling, gaussianization
from zuko.lazy import LazyComposedTransform, LazyInverse, UnconditionalTransform
from zuko.nn import MLP, MaskedMLP, Residual

from flowkd.flows.converted.layers import AutoregressiveLayer, CouplingLayer, ElementwiseLayer
from flowkd.flows.converted.transforms import AffineMap, Map, SplineMap
from flowkd.foreign.convert.networks import (
    Network,
    Steps,
    add_modules,
    by_parameter,
    constant,
)
from flowkd.foreign.convert.parts import (
    Converted,
    Part,
    Weights,
    around,
    linear,
    norm,
    permute,
    refuse,
)

BOUND, SLOPE = 5.0, 1e-3  # defaults of zuko's spline; of its spline and its affine map


def convert(flow: zuko.flows.Flow) -> Converted:
    """Returns a flow of zuko in parts; raises ConversionError for a layer that flowkd has not."""
    base, name = flow.base, "base"
    if getattr(base, "f", None) is not zuko.distributions.DiagNormal:
        refuse(name, getattr(base, "f", base), "expected a base that is DiagNormal")
    dist = base().base_dist
    if dist.loc.dim() != 1:
        refuse(name, base.f, f"expected a base over one dimension; got {tuple(dist.loc.shape)}")
    walk = _Walk(len(dist.loc))
    parts = walk.transform(flow.transform, "transform")
    if bool(dist.loc.any()) or not bool((dist.scale == 1).all()):
        parts.append(norm(1 / dist.scale, -dist.loc / dist.scale))
    return Converted(parts, (walk.features,), walk.context)


class _Walk:
    """Goes through the transforms of a flow, and finds the size of its context on the way."""

    def __init__(self, features: int) -> None:
        self.features = features
        self.context = 0

    def transform(self, module: nn.Module, name: str, inverse: bool = False) -> list[Part]:
        if isinstance(module, LazyComposedTransform):
            numbered = list(enumerate(module.transforms))
            return [
                part
                for number, each in (reversed(numbered) if inverse else numbered)
                for part in self.transform(each, f"{name}.transforms.{number}", inverse)
            ]
        if isinstance(module, LazyInverse):
            return self.transform(module.transform, f"{name}.transform", not inverse)
        if isinstance(module, autoregressive.MaskedAutoregressiveTransform):
            return [self._autoregressive(module, name, inverse)]
        if isinstance(module, coupling.GeneralCouplingTransform):
            return self._coupling(module, name, inverse)
        if isinstance(module, gaussianization.ElementWiseTransform):
            return [self._elementwise(module, name, inverse)]
        if isinstance(module, UnconditionalTransform):
            return self._unconditional(module, name, inverse)
        return refuse(name, module, "flowkd has no such layer")

    def _autoregressive(self, module: Any, name: str, inverse: bool) -> Part:
        steps = self._network(module.hyper, self.features, f"{name}.hyper")
        steps.arrange(by_parameter(self.features, module.total))
        if module.univariate is zuko.transforms.AdditiveTransform:
            steps.without_scales()
        network = steps.network()
        layer = AutoregressiveLayer(net=network.config, map=_map(module, name), inverse=inverse)
        prefix = "bijector.conditioner" if inverse else "conditioner"
        return Part(layer, _within(prefix, network))

    def _coupling(self, module: Any, name: str, inverse: bool) -> list[Part]:
        kept, changed = module.mask.nonzero().flatten(), (~module.mask).nonzero().flatten()
        steps = self._network(module.hyper, len(kept), f"{name}.hyper")
        steps.arrange(by_parameter(len(changed), module.total))
        if module.univariate is zuko.transforms.AdditiveTransform:
            steps.without_scales()
        network = steps.network()
        layer = CouplingLayer(kept=len(kept), net=network.config, map=_map(module, name, inverse))
        order = torch.cat([kept, changed])
        return around(order, Part(layer, _within("conditioner", network)))

    def _elementwise(self, module: Any, name: str, inverse: bool) -> Part:
        if hasattr(module, "hyper"):
            self._see(module.hyper.in_features, f"{name}.hyper", module.hyper)
            steps = Steps(module.hyper.in_features)
            add_modules(steps, list(module.hyper), f"{name}.hyper")
            steps.arrange(by_parameter(self.features, module.total))
            network = steps.network()
        else:
            values = [each.reshape(self.features, -1).T.flatten() for each in module.phi]
            network = constant(torch.cat(values))
        layer = ElementwiseLayer(net=network.config, map=_map(module, name, inverse))
        return Part(layer, _within("conditioner", network))

    def _network(self, module: nn.Module, columns: int, name: str) -> Steps:
        """Returns a network whose first inputs are columns, and the others the context."""
        if not isinstance(module, MLP | MaskedMLP):
            refuse(name, module, "expected zuko's MLP or MaskedMLP")
        context = module.in_features - columns
        if context:
            self._see(context, name, module)
        steps = Steps(columns, masked=isinstance(module, MaskedMLP))
        for number, each in enumerate(module):
            if isinstance(each, Residual):
                inner = Steps(0, masked=True)
                add_modules(inner, list(each), f"{name}.{number}")
                steps.residual(inner)
            else:
                add_modules(steps, [each], name, context)
        return steps

    def _see(self, context: int, name: str, module: nn.Module) -> None:
        if self.context not in (0, context):
            refuse(name, module, f"expected a context of {self.context} values; got {context}")
        self.context = context

    def _unconditional(self, module: Any, name: str, inverse: bool) -> list[Part]:
        made = module()
        if isinstance(made, zuko.transforms.IdentityTransform):
            return []
        if isinstance(made, zuko.transforms.PermutationTransform):
            return [permute(made.order.argsort() if inverse else made.order)]
        if isinstance(made, zuko.transforms.MonotonicAffineTransform):
            scale, shift = self._each(made.scale), self._each(made.shift)
        elif isinstance(made, zuko.transforms.AdditiveTransform):
            shift = self._each(made.shift)
            scale = torch.ones_like(shift)
        elif isinstance(made, torch.distributions.AffineTransform):
            scale, shift = self._each(made.scale), self._each(made.loc)
            if not bool((scale > 0).all()):
                refuse(name, made, f"expected a positive scale; got {scale.tolist()}")
        elif isinstance(
            made, zuko.transforms.RotationTransform | zuko.transforms.LULinearTransform
        ):
            return self._linear(made, inverse)
        else:
            refuse(name, made, "flowkd has no such layer")
        if inverse:
            scale, shift = 1 / scale, -shift / scale
        return [norm(scale, shift)]

    def _each(self, value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64).detach().expand(self.features).clone()

    def _linear(self, made: Any, inverse: bool) -> list[Part]:
        if isinstance(made, zuko.transforms.RotationTransform):
            matrix = made.R.detach().double()
        else:
            matrix = made.L.detach().double() @ made.U.detach().double()
        return linear(torch.linalg.inv(matrix) if inverse else matrix)


def _within(prefix: str, network: Network) -> Weights:
    return {f"{prefix}.{key}": value for key, value in network.weights.items()}


def _map(module: Any, name: str, inverse: bool = False) -> Map:
    """Returns what a layer applies to each value."""
    univariate: Any = module.univariate
    given: dict[str, Any] = {}
    while isinstance(univariate, partial):
        if univariate.args:
            refuse(name, univariate.func, f"expected keywords; got {univariate.args}")
        univariate, given = univariate.func, {**univariate.keywords, **given}
    if univariate is zuko.transforms.MonotonicAffineTransform and given.keys() <= {"slope"}:
        return AffineMap(scale="clipped", least=given.get("slope", SLOPE), reversed=inverse)
    if univariate is zuko.transforms.AdditiveTransform and not given:
        return AffineMap(scale="exp", reversed=inverse)
    if univariate is zuko.transforms.MonotonicRQSTransform and given.keys() <= {"slope", "bound"}:
        least = given.get("slope", SLOPE)
        return SplineMap(
            bins=module.shapes[0][0], bound=given.get("bound", BOUND),
            shares="clipped", least_width=least, least_height=least,
            slopes="exp", least_slope=least, reversed=inverse,
        )  # fmt: skip
    return refuse(f"{name}.univariate", univariate, "flowkd has no such map of single values")
