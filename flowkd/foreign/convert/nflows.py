"""Flows of nflows."""

from __future__ import annotations

import copy
from typing import Any

import nflows.flows
import torch
from nflows import distributions, transforms
from nflows.nn.nets import ConvResidualNet, ResidualNet
from nflows.transforms.base import InverseTransform
from nflows.transforms.linear import Linear
from nflows.transforms.normalization import ActNorm, BatchNorm
from torch.nn.functional import softplus

from flowkd.flows.converted.layers import CouplingLayer, SqueezeLayer
from flowkd.flows.converted.transforms import AffineMap, SplineMap
from flowkd.foreign.adapters.nflows import event_shape_of
from flowkd.foreign.convert.durkan import (
    affine_autoregressive,
    context_of,
    residual_steps,
    spline_autoregressive,
    spline_coupling,
    spline_map,
    spline_of_each,
    spline_rows,
    within,
)
from flowkd.foreign.convert.nflows_context import by_vectors
from flowkd.foreign.convert.nflows_pictures import residual_picture_network
from flowkd.foreign.convert.parts import (
    Converted,
    Part,
    around,
    linear,
    linear_of,
    norm,
    norm_by_log,
    on_leading,
    permute,
    refuse,
)


def convert(flow: nflows.flows.Flow) -> Converted:
    """Returns a flow of nflows in parts; raises ConversionError for a layer that flowkd has not."""
    base = flow._distribution
    if len(tuple(getattr(base, "_shape", ()))) not in (1, 3):
        why = "expected a base over columns (D,) or pictures (C, H, W)"
        refuse("_distribution", base, why)
    shape = event_shape_of(flow)
    walk = _Walk(shape[0], len(shape) > 1)
    parts = walk.transform(flow._transform, "_transform")
    parts, size = by_vectors(flow, shape, parts, walk.context)
    if type(base) is distributions.normal.DiagonalNormal and not walk.pictures:
        parts.append(norm_by_log(-base.log_std_, -base.mean_))
    elif type(base) is not distributions.StandardNormal:
        refuse("_distribution", base, "expected StandardNormal or DiagonalNormal")
    return Converted(parts, shape, size)


class _Walk:
    """Goes through the transforms of a flow, and finds the size of its context on the way.

    Args:
        features: Columns, or channels.
        pictures: Whether it is over pictures.
    """

    def __init__(self, features: int, pictures: bool) -> None:
        self.features = features
        self.pictures = pictures
        self.context = 0
        self.leading = False  # whether channels have been given away
        self.ended = False  # whether all levels have

    def transform(self, module: Any, name: str, inverse: bool = False) -> list[Part]:
        """Returns a layer in parts, of the channels that it maps."""
        if self.ended:
            refuse(name, module, "expected no layer after those of several levels")
        if isinstance(module, transforms.CompositeTransform):
            numbered = list(enumerate(module._transforms))
            return [
                part
                for number, each in (reversed(numbered) if inverse else numbered)
                for part in self.transform(each, f"{name}._transforms.{number}", inverse)
            ]
        if type(module) is InverseTransform:
            return self.transform(module._transform, f"{name}._transform", not inverse)
        if self.pictures:
            if isinstance(module, transforms.MultiscaleCompositeTransform) and not inverse:
                return self._levels(module, name)
            if isinstance(module, transforms.SqueezeTransform) and not inverse:
                if module.factor != 2:
                    refuse(name, module, f"expected a factor of 2; got {module.factor}")
                self.features *= 4
                return [Part(SqueezeLayer())]
        for kinds, found in (
            (_FIXED, self._fixed),
            (_COUPLINGS, self._coupling),
            (_AUTOREGRESSIVE, self._autoregressive),
        ):
            if isinstance(module, kinds):
                parts = found(module, name, inverse)
                return on_leading(parts, self.features) if self.leading else parts
        return refuse(name, module, "flowkd has no such layer")

    def _levels(self, module: Any, name: str) -> list[Part]:
        """Returns levels each of which but the last gives away its first channels."""
        if module._split_dim != 1:
            refuse(name, module, f"expected a split of dimension 1; got {module._split_dim}")
        parts: list[Part] = []
        for number, each in enumerate(module._transforms):
            if number:
                # Those that go on come first; what they leave behind is standard normal.
                given, channels = (self.features + 1) // 2, self.features
                order = [*range(given, channels), *range(given)]
                parts += on_leading([permute(order)], channels if self.leading else None)
                self.features, self.leading = channels - given, True
            parts += self.transform(each, f"{name}._transforms.{number}")
        self.ended = True
        return parts

    def _fixed(self, module: Any, name: str, inverse: bool) -> list[Part]:
        """Returns a layer without a network."""
        if self.pictures and not isinstance(module, _OVER_CHANNELS):
            refuse(name, module, "flowkd has no such layer for pictures")
        if isinstance(module, transforms.IdentityTransform):
            return []
        if isinstance(module, transforms.Permutation):
            if module._dim != 1:
                refuse(name, module, f"expected a permutation of dimension 1; got {module._dim}")
            order = module._permutation
            return [permute(order.argsort() if inverse else order)]
        if isinstance(module, transforms.nonlinearities.PiecewiseRationalQuadraticCDF):
            return [spline_of_each(module, name, reverse=inverse)]
        if isinstance(module, Linear | transforms.HouseholderSequence):
            exact = copy.deepcopy(module).double()
            if isinstance(exact, Linear):
                exact.use_cache(False)
            matrix, shift = linear_of(exact, self.features, places=2 * self.pictures)
            if inverse:
                matrix = torch.linalg.inv(matrix)
                shift = -matrix @ shift
            return linear(matrix, shift)
        scale, shift = self._scale_and_shift(module, name)
        if inverse:
            scale, shift = 1 / scale, -shift / scale
        return [norm(scale, shift)]

    def _scale_and_shift(self, module: Any, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(module, ActNorm):
            return module.log_scale.double().exp(), module.shift.double()
        if isinstance(module, BatchNorm):
            weight = softplus(module.unconstrained_weight.double()) + module.eps
            scale = weight / (module.running_var.double() + module.eps).sqrt()
            return scale, module.bias.double() - scale * module.running_mean.double()
        values = []
        for value in (module._scale.double(), module._shift.double()):
            if value.numel() not in (1, self.features):
                refuse(name, module, f"expected one number, or one for each of {self.features}")
            values.append(value.flatten().expand(self.features))
        return values[0], values[1]

    def _coupling(self, module: Any, name: str, inverse: bool) -> list[Part]:
        if self.pictures:
            return self._picture_coupling(module, name, inverse)
        net, kept = module.transform_net, module.identity_features
        if not isinstance(net, ResidualNet):
            refuse(f"{name}.transform_net", net, "expected nflows.nn.nets.ResidualNet")
        self._see(context_of(net), f"{name}.transform_net", net)
        steps = residual_steps(net, len(kept), f"{name}.transform_net")
        if isinstance(module, transforms.PiecewiseRationalQuadraticCouplingTransform):
            if inverse and module.unconditional_transform is not None:
                refuse(name, module, "expected no inverse of one with unconditional splines")
            return spline_coupling(module, steps, name, reverse=inverse)
        if type(module) is transforms.AdditiveCouplingTransform:
            steps.without_scales()
            affine = AffineMap(scale="exp", reversed=inverse)
        else:
            affine = AffineMap(scale="sigmoid", least=1e-3, reversed=inverse)
        network = steps.network()
        layer = CouplingLayer(kept=len(kept), net=network.config, map=affine)
        order = torch.cat([kept, module.transform_features])
        return around(order, Part(layer, within("conditioner", network)))

    def _picture_coupling(self, module: Any, name: str, inverse: bool) -> list[Part]:
        net, kept = module.transform_net, module.identity_features
        place, changed = f"{name}.transform_net", module.transform_features
        if not isinstance(net, ConvResidualNet):
            refuse(place, net, "expected nflows.nn.nets.ConvResidualNet")
        self._see(net.context_channels or 0, place, net)
        if module.unconditional_transform is not None:
            refuse(name, module, "expected none with unconditional splines, for pictures")
        count = len(changed)
        mapped: AffineMap | SplineMap
        if isinstance(module, transforms.PiecewiseRationalQuadraticCouplingTransform):
            mapped = spline_map(module, name, reverse=inverse)
            network = residual_picture_network(net, place, *spline_rows(module))
        elif type(module) is transforms.AdditiveCouplingTransform:
            mapped = AffineMap(scale="exp", reversed=inverse)
            network = residual_picture_network(net, place, torch.arange(count), zeros=count)
        else:
            mapped = AffineMap(scale="sigmoid", least=1e-3, reversed=inverse)
            network = residual_picture_network(net, place, torch.arange(2 * count))
        layer = CouplingLayer(kept=len(kept), net=network.config, map=mapped)
        return around(torch.cat([kept, changed]), Part(layer, within("conditioner", network)))

    def _autoregressive(self, module: Any, name: str, inverse: bool) -> list[Part]:
        net = module.autoregressive_net
        if self.pictures:
            refuse(name, module, "flowkd has no such layer for pictures")
        self._see(context_of(net), f"{name}.autoregressive_net", net)
        if isinstance(module, transforms.MaskedAffineAutoregressiveTransform):
            return [
                affine_autoregressive(
                    module, name, scale="softplus", of_nflows=True, inverse=inverse
                )
            ]
        return [spline_autoregressive(module, name, of_nflows=True, inverse=inverse)]

    def _see(self, context: int, name: str, net: Any) -> None:
        if context and self.context not in (0, context):
            refuse(name, net, f"expected a context of {self.context} values; got {context}")
        self.context = self.context or context


_FIXED = (
    transforms.IdentityTransform, transforms.Permutation,
    transforms.nonlinearities.PiecewiseRationalQuadraticCDF, transforms.HouseholderSequence,
    transforms.PointwiseAffineTransform, Linear, ActNorm, BatchNorm,
)  # fmt: skip
_OVER_CHANNELS = (
    transforms.IdentityTransform, transforms.Permutation, transforms.OneByOneConvolution,
    transforms.PointwiseAffineTransform, ActNorm,
)  # fmt: skip
_COUPLINGS = (
    transforms.AffineCouplingTransform, transforms.AdditiveCouplingTransform,
    transforms.PiecewiseRationalQuadraticCouplingTransform,
)  # fmt: skip
_AUTOREGRESSIVE = (
    transforms.MaskedAffineAutoregressiveTransform,
    transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
)
