"""Starts and losses that were tried beside `fold`, and did not earn a place in flowkd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmarks.tried_networks import networks
from flowkd.data.batch import Batch
from flowkd.distillation.losses import Losses
from flowkd.distillation.schedules import Cosine
from flowkd.distillation.warmstart import WarmStart, warm_start
from flowkd.distillation.warmstart.layout import matched
from flowkd.distillation.warmstart.width import most_telling, narrow
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig

if TYPE_CHECKING:
    from benchmarks.tried import Setting

REFIT_STEPS = 200


def fold(setting: Setting, flow: Flow, config: GlowConfig) -> None:
    _begin("fold", setting, flow, config)


def inherit(setting: Setting, flow: Flow, config: GlowConfig) -> None:
    _begin("inherit", setting, flow, config)


def fisher_fold(setting: Setting, flow: Flow, config: GlowConfig) -> None:
    """Folds so that errors count by the mean square gradient of what the networks put out.

    The rows of the last layers are scaled before the width is folded, and scaled back after it.
    """
    fold(setting, flow, config)
    shallow = _shallow(setting, config)
    seen = _inputs(shallow, setting.calibration)
    scales = _output_gradients(shallow, setting.calibration[:512])
    for ours, theirs, kept, scale in zip(
        networks(flow), networks(shallow), seen, scales, strict=True
    ):
        _scale(theirs.conditioner.last, scale)
        with torch.no_grad():
            narrow(theirs.conditioner, ours.conditioner, kept, None, most_telling)
        _scale(ours.conditioner.last, 1 / scale)


def refitted(setting: Setting, flow: Flow, config: GlowConfig) -> None:
    """Folds, then fits each network to the one it stands for, on what that one sees."""
    fold(setting, flow, config)
    shallow = _shallow(setting, config)
    ours, theirs = networks(flow), networks(shallow)
    optimizer = torch.optim.Adam([p for c in ours for p in c.conditioner.parameters()], lr=2e-3)
    for step in range(REFIT_STEPS):
        x = setting.batches.batch(10**6 + step).x
        loss = torch.zeros(())
        with torch.no_grad():
            seen = _inputs(shallow, x)
            targets = [c.conditioner(kept) for c, kept in zip(theirs, seen, strict=True)]
        for coupling, kept, target in zip(ours, seen, targets, strict=True):
            loss = loss + (coupling.conditioner(kept) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Heads(nn.Module):
    """Maximum likelihood, and the student's hidden units through linear heads as the teacher's."""

    def __init__(self, flow: Flow, teacher: Flow, weight: Cosine) -> None:
        super().__init__()
        self.flow, self.weight = flow, weight
        self._teacher = [teacher.requires_grad_(False)]
        pairs = _pairs(flow, teacher)
        self.heads = nn.ModuleList(
            nn.Conv2d(ours.last.in_channels, theirs.last.in_channels, 1) for ours, theirs in pairs
        )
        self._seen: list[dict[int, Tensor]] = [{}, {}]
        for number, pair in enumerate(pairs):
            for seen, net in zip(self._seen, pair, strict=True):
                net.last.register_forward_pre_hook(_recorder(seen, number))

    def forward(self, batch: Batch, progress: float = 0.0) -> Losses:
        nll = -self.flow(batch.x, batch.context).log_prob.mean() / self.flow.dimensions
        with torch.no_grad():
            self._teacher[0](batch.x, batch.context)
        ours, theirs = self._seen
        distances = [
            (head(ours[number]) - theirs[number]).square().mean()
            / theirs[number].var().clamp_min(1e-4)
            for number, head in enumerate(self.heads)
        ]
        hints = torch.stack(distances).mean()
        return Losses(nll + self.weight.at(progress) * hints, {"nll": nll, "heads": hints})


def heads(setting: Setting, flow: Flow) -> nn.Module:
    return Heads(flow, setting.teacher, Cosine(start=0.1))


class Scores(nn.Module):
    """Maximum likelihood, and the gradients of log p by x as the teacher's, over their size."""

    def __init__(self, flow: Flow, teacher: Flow, weight: Cosine) -> None:
        super().__init__()
        self.flow, self.weight = flow, weight
        self._teacher = [teacher.requires_grad_(False)]

    def forward(self, batch: Batch, progress: float = 0.0) -> Losses:
        x = batch.x.clone().requires_grad_(True)
        nats = self.flow(x, batch.context).log_prob
        (ours,) = torch.autograd.grad(nats.sum(), x, create_graph=True)
        (theirs,) = torch.autograd.grad(self._teacher[0](x, batch.context).log_prob.sum(), x)
        nll = -nats.mean() / self.flow.dimensions
        distance = (ours - theirs).square().mean() / theirs.square().mean()
        return Losses(nll + self.weight.at(progress) * distance, {"nll": nll, "scores": distance})


def scores(setting: Setting, flow: Flow) -> nn.Module:
    return Scores(flow, setting.teacher, Cosine(start=0.05))


def _recorder(seen: dict[int, Tensor], number: int) -> Any:
    def record(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen[number] = arguments[0]

    return record


def _pairs(flow: Flow, teacher: Flow) -> list[tuple[Any, Any]]:
    """Pairs each student network with the last one of the teacher's steps it stands for."""
    return [
        (unit.coupling.conditioner, group[-1].coupling.conditioner)
        for unit, group in matched(flow, teacher)
        if unit.is_step
    ]


def _shallow(setting: Setting, config: GlowConfig) -> Flow:
    """Returns the teacher folded in depth alone."""
    shape = setting.teacher_config.model_copy(update={"steps": config.steps})
    flow = build_flow(shape)
    fold(setting, flow, shape)
    return flow


@torch.no_grad()
def _inputs(flow: Flow, x: Tensor) -> list[Tensor]:
    """Returns what each network of a flow sees."""
    seen: dict[int, Tensor] = {}
    hooks = [
        coupling.conditioner.register_forward_pre_hook(_recorder(seen, number))
        for number, coupling in enumerate(networks(flow))
    ]
    flow(x)
    for hook in hooks:
        hook.remove()
    return [seen[number] for number in sorted(seen)]


def _output_gradients(flow: Flow, x: Tensor) -> list[Tensor]:
    """Returns the root mean square gradient of log p for each channel that a network puts out."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    hooks = [c.conditioner.register_forward_hook(keep) for c in networks(flow)]
    flow.log_prob(x).sum().backward()
    for hook in hooks:
        hook.remove()
    flow.zero_grad()
    found = [output.grad.square().mean((0, 2, 3)).sqrt() for output in outputs]
    return [scale / scale.mean() for scale in found]


@torch.no_grad()
def _scale(layer: nn.Conv2d, scale: Tensor) -> None:
    layer.weight.mul_(scale[:, None, None, None])
    assert layer.bias is not None
    layer.bias.mul_(scale)


def _begin(kind: WarmStart, setting: Setting, flow: Flow, config: GlowConfig) -> None:
    warm_start(kind, flow, config, setting.teacher, setting.teacher_config, setting.calibration)
