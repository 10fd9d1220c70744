"""What a flow is trained to do: each objective is a module, so that DDP can wrap it whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from flowkd.config import Config
from flowkd.flow import Encoding, Flow


@dataclass(frozen=True)
class Losses:
    """A loss and what it is made of.

    Attributes:
        total: The weighted sum, a scalar with a gradient.
        terms: Each term by name, unweighted scalars.
    """

    total: Tensor
    terms: dict[str, Tensor]


class Hint(Config):
    """A pair of bijectors after which the student's state should be the teacher's."""

    student: str
    teacher: str


class Weights(Config):
    """Weights of the terms in the sum; of weight 0, `nll` is only reported, others not computed."""

    nll: float = Field(1.0, ge=0)
    latent: float = Field(0.0, ge=0)
    hints: float = Field(0.0, ge=0)
    synthesis: float = Field(0.0, ge=0)


class MaximumLikelihood(nn.Module):
    """The negative log-likelihood of data, `nll`, in nats per dimension.

    Args:
        flow: What is trained.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor | None = None, z: Tensor | None = None) -> Losses:
        """Computes the loss of a batch; z is not used."""
        nll = _nats_per_dimension(self.flow, self.flow(x, context))
        return Losses(nll, {"nll": nll})


class Distillation(nn.Module):
    """A student learns from data and from its teacher.

    With x data, z ~ N(0, I), h the states at the hints' taps, D the dimensions, S student,
    T teacher, and means over the batch and all dimensions:
    nll = -log p_S(x) / D; latent = mean (z_S(x) - z_T(x))^2;
    hints = mean over pairs of mean (h_S(x) - h_T(x))^2;
    synthesis = mean |S^-1(t z) - T^-1(t z)|, in preprocessed units, with t the temperature.
    Source: Distilling Normalizing Flows, 2025, https://arxiv.org/abs/2506.21003.

    Args:
        student: What is trained.
        teacher: Is frozen here, and never changes.
        hints: Pairs of taps.
        weights: Of the terms.
        temperature: Of the noise for `synthesis`.

    Raises:
        ValueError: Flows of different events, latents or contexts; unknown taps; a pair of
            unequal shapes; a hint that no student parameter precedes; a pair named twice; hints
            with weight 0, or a weight without hints.
    """

    def __init__(
        self,
        student: Flow,
        teacher: Flow,
        hints: Sequence[Hint] = (),
        weights: Weights | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.weights = weights or Weights()
        self.hints = tuple(hints)
        self.temperature = temperature
        _check_pair(student, teacher)
        _check_hints(student, teacher, self.hints, self.weights.hints)
        self.flow = student
        self.teacher = teacher.requires_grad_(False)

    def forward(self, x: Tensor, context: Tensor | None = None, z: Tensor | None = None) -> Losses:
        """Computes the loss of a batch.

        Args:
            x: Data, (B, *event_shape): the very same noisy x goes to student and teacher.
            context: What both flows are conditioned on.
            z: Standard normal noise, (B, D), for `synthesis`.
        """
        weights = self.weights
        student = self.flow(x, context, [hint.student for hint in self.hints])
        terms = {"nll": _nats_per_dimension(self.flow, student)}
        if weights.latent or weights.hints:
            with torch.no_grad():
                teacher = self.teacher(x, context, [hint.teacher for hint in self.hints])
            if weights.latent:
                terms["latent"] = (student.z - teacher.z).square().mean()
            if weights.hints:
                pairs = [
                    (student.hints[hint.student] - teacher.hints[hint.teacher]).square().mean()
                    for hint in self.hints
                ]
                terms["hints"] = torch.stack(pairs).mean()
        if weights.synthesis:
            terms["synthesis"] = self._synthesis(z, context)
        total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
        return Losses(total, terms)

    def _synthesis(self, z: Tensor | None, context: Tensor | None) -> Tensor:
        if z is None:
            raise ValueError("expected noise z of (B, D) for the term 'synthesis'; got none")
        z = self.temperature * z.view(-1, *self.flow.latent_shape)
        with torch.no_grad():
            target, _ = self.teacher.preprocess(self.teacher.inverse(z, context))
        made, _ = self.teacher.preprocess(self.flow.inverse(z, context))
        return (made - target).abs().mean()


def _nats_per_dimension(flow: Flow, encoding: Encoding) -> Tensor:
    return -encoding.log_prob.mean() / flow.dimensions


def _check_pair(student: Flow, teacher: Flow) -> None:
    for name in ("event_shape", "latent_shape", "context"):
        ours, theirs = getattr(student, name), getattr(teacher, name)
        if ours != theirs:
            raise ValueError(f"expected a student of the teacher's {name} {theirs}; got {ours}")


def _check_hints(student: Flow, teacher: Flow, hints: tuple[Hint, ...], weight: float) -> None:
    if bool(hints) != bool(weight):
        raise ValueError(
            f"expected hints and their weight together; got {len(hints)} hints of weight {weight}"
        )
    if len(set(hints)) < len(hints):
        raise ValueError("expected each hint once; got a pair twice")
    for hint in hints:
        for role, flow, name in (
            ("student", student, hint.student),
            ("teacher", teacher, hint.teacher),
        ):
            if name not in flow.taps:
                raise ValueError(
                    f"hint {hint.student} <- {hint.teacher}: the {role} has no tap {name!r}; "
                    f"valid taps are {', '.join(flow.taps)}"
                )
        ours, theirs = student.taps[hint.student], teacher.taps[hint.teacher]
        if ours.shape != theirs.shape:
            same = [name for name, tap in teacher.taps.items() if tap.shape == ours.shape]
            raise ValueError(
                f"hint {hint.student} <- {hint.teacher}: expected equal shapes; got {ours.shape} "
                f"and {theirs.shape}; teacher taps of {ours.shape} are {', '.join(same) or 'none'}"
            )
        if not ours.parameters:
            learning = [name for name, tap in student.taps.items() if tap.parameters]
            raise ValueError(
                f"hint {hint.student} <- {hint.teacher}: no student parameter precedes "
                f"{hint.student!r}, so that it would teach nothing; valid student taps are "
                f"{', '.join(learning)}"
            )
