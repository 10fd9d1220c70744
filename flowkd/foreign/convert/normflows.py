"""Flows of normflows, whose layers map from z to x: each is taken the other way round."""

from __future__ import annotations

from typing import Any

import normflows as nf
import torch
from torch import nn

from flowkd.flows.converted.layers import (
    CouplingLayer,
    ElementwiseLayer,
    LogitLayer,
    SqueezeLayer,
)
from flowkd.flows.converted.transforms import AffineMap
from flowkd.foreign.convert.durkan import (
    affine_autoregressive,
    context_of,
    residual_steps,
    spline_autoregressive,
    spline_coupling,
    within,
)
from flowkd.foreign.convert.networks import (
    Network,
    Steps,
    add_modules,
    beside,
    by_parameter,
    constant,
)
from flowkd.foreign.convert.parts import (
    Converted,
    Part,
    around,
    linear,
    norm,
    norm_by_log,
    on_leading,
    permute,
    refuse,
)
from flowkd.foreign.convert.pictures import picture_network


def convert(flow: nn.Module) -> Converted:
    """Returns a flow of normflows in parts; raises ConversionError for one that flowkd has not."""
    if isinstance(flow, nf.MultiscaleFlow):
        return _multiscale(flow)
    if not isinstance(flow, nf.NormalizingFlow):
        refuse("the flow", flow, "expected NormalizingFlow, Conditional... or MultiscaleFlow")
    shape = _shape(flow.q0, "q0")
    walk = _Walk(shape[0], len(shape) - 1)
    parts = walk.layers(flow.flows, "flows")
    parts += walk.base(flow.q0, "q0", shape[0], None)
    squeezes = sum(isinstance(part.layer, SqueezeLayer) for part in parts)
    return Converted(parts, _unsqueezed(shape, squeezes), walk.context, walk.classes)


def _multiscale(flow: Any) -> Converted:
    """Returns the levels in parts: what a level leaves behind are the trailing channels."""
    shapes = [_shape(base, f"q0.{level}") for level, base in enumerate(flow.q0)]
    squeezes = [sum(isinstance(each, nf.flows.Squeeze) for each in level) for level in flow.flows]
    event_shape = _unsqueezed(shapes[-1], squeezes[-1], 2 if len(shapes) > 1 else 1)
    walk = _Walk(event_shape[0], 2)
    parts: list[Part] = []
    if flow.transform is not None:
        parts += walk.transform(flow.transform, "transform")
    active: int | None = None  # leading channels that go on; None for all
    for level in reversed(range(len(flow.q0))):
        walk.channels = shapes[level][0] * (2 if level else 1)
        found = walk.layers(flow.flows[level], f"flows.{level}")
        going_on = 0
        if level:
            merge = flow.merges[level - 1]
            if getattr(merge, "mode", None) != "channel":
                refuse(f"merges.{level - 1}", merge, "expected a merge by channel")
            going_on = walk.channels - shapes[level][0]
        found += walk.base(flow.q0[level], f"q0.{level}", walk.channels, going_on)
        parts += _level(found, active, walk.channels)
        active = going_on
    return Converted(parts, event_shape, walk.context, walk.classes)


def _level(parts: list[Part], active: int | None, channels: int) -> list[Part]:
    """Returns a level on its own channels; a squeeze takes all of them, and keeps their order."""
    if active is None:
        return parts
    return [
        part if isinstance(part.layer, SqueezeLayer) else on_leading([part], channels)[0]
        for part in parts
    ]


def _shape(base: Any, name: str) -> tuple[int, ...]:
    shape = getattr(base, "shape", None)
    if shape is None or len(shape) not in (1, 3):
        refuse(name, base, "expected a base over columns (D,) or pictures (C, H, W)")
    return tuple(int(each) for each in shape)


def _unsqueezed(shape: tuple[int, ...], squeezes: int, split: int = 1) -> tuple[int, ...]:
    if len(shape) == 1:
        return shape
    channels, height, width = shape
    side = 2**squeezes
    return channels * split // side**2, height * side, width * side


class _Walk:
    """Goes through the layers of a flow, and finds what it is conditioned on on the way."""

    def __init__(self, channels: int, places: int) -> None:
        self.channels = channels
        self.places = places
        self.context = 0
        self.classes = 0

    def layers(self, flows: Any, name: str) -> list[Part]:
        """Returns layers that are listed from z to x, from x to z."""
        numbered = reversed(list(enumerate(flows)))
        return [part for number, each in numbered for part in self.layer(each, f"{name}.{number}")]

    def layer(self, module: Any, name: str) -> list[Part]:
        """Returns the inverse of a layer."""
        if type(module) in (nf.flows.GlowBlock, nf.flows.Composite):
            return self.layers(getattr(module, "flows", None) or module._flows, f"{name}.flows")
        found = _LAYERS.get(type(module))
        return (
            refuse(name, module, "flowkd has no such layer")
            if found is None
            else found(self, module, name)
        )

    def transform(self, module: Any, name: str) -> list[Part]:
        """Returns what comes before all levels of pictures."""
        if isinstance(module, nf.transforms.Logit):
            beta = 1 - 2 * module.alpha
            logit = LogitLayer(low=-module.alpha / beta, high=(1 - module.alpha) / beta)
            ends = torch.tensor([logit.low, logit.high], dtype=torch.float64)
            return [Part(logit, {"low": ends[0], "high": ends[1]})]
        if isinstance(module, nf.transforms.Shift):
            one = torch.ones(self.channels, dtype=torch.float64)
            return [norm(one, module.shift * one)]
        return self.layer(module, name)

    def base(self, base: Any, name: str, channels: int, going_on: int | None) -> list[Part]:
        """Returns what makes the last channels of a state, from `going_on`, standard normal."""
        if isinstance(base, nf.distributions.DiagGaussian):
            values = [value.detach()[0].flatten(1) if self.places else value.detach()[0]
                      for value in (base.loc, base.log_scale)]  # fmt: skip
            if self.places:
                if any(bool((value != value[:, :1]).any()) for value in values):
                    refuse(
                        name, base, "expected the same mean and scale at each place of a picture"
                    )
                values = [value[:, 0] for value in values]
            loc, log_scale = values
        elif isinstance(base, nf.distributions.GlowBase):
            if base.class_cond:
                return self._by_class(base, name, channels, going_on or 0)
            factor = base.logscale_factor
            loc = (base.loc * (base.loc_logs * factor).exp()).flatten()
            log_scale = (base.log_scale * (base.log_scale_logs * factor).exp()).flatten()
        else:
            refuse(name, base, "expected DiagGaussian or GlowBase")
        if getattr(base, "temperature", None) is not None:
            refuse(name, base, f"expected no temperature; got {base.temperature}")
        if not bool(loc.any()) and not bool(log_scale.any()):
            return []
        zeros = torch.zeros(going_on or 0, dtype=loc.dtype)
        return [norm_by_log(torch.cat([zeros, -log_scale]), torch.cat([zeros, -loc]))]

    def _by_class(self, base: Any, name: str, channels: int, going_on: int) -> list[Part]:
        """Returns a base whose mean and log-scale depend on the class."""
        self._see(0, name, base, classes=base.num_classes)
        factor, zeros = base.logscale_factor, torch.zeros(going_on)
        rows, shifts = [], []
        for own, by, logs in (
            (base.loc, base.loc_cc, base.loc_logs),
            (base.log_scale, base.log_scale_cc, base.log_scale_logs),
        ):
            shifts.append(torch.cat([zeros, (own * (logs * factor).exp()).detach().flatten()]))
            rows.append(torch.cat([zeros.expand(base.num_classes, -1), by.detach()], dim=1).T)
        steps = Steps(base.num_classes)
        steps.linear(torch.cat(rows), torch.cat(shifts))
        network = steps.network()
        layer = ElementwiseLayer(net=network.config, map=AffineMap(scale="exp", reversed=True))
        return [Part(layer, within("conditioner", network))]

    def _see(self, context: int, name: str, module: Any, classes: int = 0) -> None:
        for key, found in (("context", context), ("classes", classes)):
            known = getattr(self, key)
            if found and known not in (0, found):
                refuse(name, module, f"expected {known} for its {key}; got {found}")
            setattr(self, key, known or found)
        if self.context and self.classes:
            refuse(name, module, "expected a context or classes; got both")

    def _constant(self, module: Any, name: str) -> list[Part]:
        if float(getattr(module, "data_dep_init_done", 1.0)) == 0:
            refuse(
                name, module, "it has not seen data yet, by which it sets itself: train it first"
            )
        values = [value.detach()[0] for value in (module.s, module.t)]
        if any(value.numel() != self.channels for value in values):
            refuse(
                name, module, f"expected a scale and a shift for each of {self.channels} channels"
            )
        scale, shift = values
        return [norm_by_log(-scale, -shift)]

    def _permutation(self, module: Any, name: str) -> list[Part]:
        if isinstance(module, nf.flows.Permute) and module.mode == "swap":
            places = torch.arange(self.channels)
            half = (self.channels + 1) // 2
            return [permute(torch.cat([places[half:], places[:half]]))]
        return [permute(module.inv_perm)]

    def _matrix(self, module: Any, name: str) -> list[Part]:
        matrix = module._assemble_W() if module.use_lu else module.W
        # Over pictures it is W x, over columns x W.
        return linear(matrix if isinstance(module, nf.flows.Invertible1x1Conv) else matrix.T)

    def _lu(self, module: Any, name: str) -> list[Part]:
        lower, upper = module.linear._create_lower_upper()
        matrix = lower.detach().double() @ upper.detach().double()
        return [permute(module.permutation._permutation), *linear(matrix, module.linear.bias)]

    def _squeeze(self, module: Any, name: str) -> list[Part]:
        return [Part(SqueezeLayer())]

    def _coupling_block(self, module: Any, name: str) -> list[Part]:
        split, coupling = module.flows[0], module.flows[1]
        half = (self.channels + 1) // 2
        places = torch.arange(self.channels)
        if split.mode == "channel":
            kept, order = half, places
        elif split.mode == "channel_inv":
            kept, order = self.channels - half, torch.cat([places[half:], places[:half]])
        else:
            refuse(name, module, f"expected a split by channel; got {split.mode}")
        changed = self.channels - kept
        where = f"{name}.flows.1.param_map"
        network = self._parameters(coupling, kept, changed, where)
        scale = {"exp": "exp", "sigmoid": "inverse_sigmoid", "sigmoid_inv": "sigmoid"}
        chosen = scale.get(coupling.scale_map) if coupling.scale else "exp"
        if chosen is None:
            refuse(f"{name}.flows.1", coupling, f"unknown scale_map {coupling.scale_map!r}")
        affine = AffineMap.model_validate({"scale": chosen, "reversed": True})
        layer = CouplingLayer(kept=kept, net=network.config, map=affine)
        return around(order, Part(layer, within("conditioner", network)))

    def _parameters(self, coupling: Any, kept: int, changed: int, name: str) -> Network:
        """Returns the network of a coupling, whose shifts and scales take turns."""
        rows = by_parameter(changed, 2) if coupling.scale else torch.arange(changed)
        if isinstance(coupling.param_map, nf.nets.ConvNet2d):
            return picture_network(coupling.param_map, rows, not coupling.scale, name)
        steps = _dense(coupling.param_map, kept, name)
        steps.arrange(rows)
        if not coupling.scale:
            steps.without_scales()
        return steps.network()

    def _masked_affine(self, module: Any, name: str) -> list[Part]:
        mask = module.b.flatten()
        kept, changed = mask.nonzero().flatten(), (mask == 0).nonzero().flatten()
        if len(kept) + int((mask == 0).sum()) != self.channels or not len(changed):
            refuse(name, module, "expected a mask of zeros and ones over columns")
        networks = []
        for key in ("t", "s"):
            given = getattr(module, key)
            if not isinstance(given, nn.Module):
                networks.append(constant(torch.zeros(len(changed))))
                continue
            steps = _dense(given, self.channels, f"{name}.{key}")
            steps.select(kept)
            steps.arrange(changed)
            networks.append(steps.network())
        both = beside(networks)
        affine = AffineMap(scale="exp", reversed=True)
        layer = CouplingLayer(kept=len(kept), net=both.config, map=affine)
        return around(torch.cat([kept, changed]), Part(layer, within("conditioner", both)))

    def _affine_autoregressive(self, module: Any, name: str) -> list[Part]:
        net = module.autoregressive_net
        self._see(context_of(net), f"{name}.autoregressive_net", net)
        return [affine_autoregressive(module, name, scale="sigmoid", of_nflows=False, inverse=True)]

    def _spline_autoregressive(self, module: Any, name: str) -> list[Part]:
        inner = module.mprqat
        net = inner.autoregressive_net
        self._see(context_of(net), f"{name}.mprqat.autoregressive_net", net)
        return [spline_autoregressive(inner, f"{name}.mprqat", of_nflows=False)]

    def _spline_coupling(self, module: Any, name: str) -> list[Part]:
        inner = module.prqct
        self._see(context_of(inner.transform_net), f"{name}.prqct.transform_net", inner)
        columns = len(inner.identity_features)
        steps = residual_steps(inner.transform_net, columns, f"{name}.prqct.transform_net")
        return spline_coupling(inner, steps, f"{name}.prqct")


def _dense(module: Any, inputs: int, name: str) -> Steps:
    if isinstance(module, nf.nets.MLP):
        return add_modules(Steps(inputs), list(module.net), f"{name}.net")
    if isinstance(module, nn.Sequential):
        return add_modules(Steps(inputs), list(module), name)
    return refuse(name, module, "expected normflows.nets.MLP or torch.nn.Sequential")


_LAYERS: dict[type, Any] = {
    nf.flows.ActNorm: _Walk._constant,
    nf.flows.AffineConstFlow: _Walk._constant,
    nf.flows.Permute: _Walk._permutation,
    nf.flows.Invertible1x1Conv: _Walk._matrix,
    nf.flows.InvertibleAffine: _Walk._matrix,
    nf.flows.LULinearPermute: _Walk._lu,
    nf.flows.Squeeze: _Walk._squeeze,
    nf.flows.AffineCouplingBlock: _Walk._coupling_block,
    nf.flows.MaskedAffineFlow: _Walk._masked_affine,
    nf.flows.MaskedAffineAutoregressive: _Walk._affine_autoregressive,
    nf.flows.AutoregressiveRationalQuadraticSpline: _Walk._spline_autoregressive,
    nf.flows.CoupledRationalQuadraticSpline: _Walk._spline_coupling,
}
