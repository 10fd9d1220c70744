"""What a flow is trained to do: each objective is a module, so that DDP can wrap it whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.data.batch import Batch
from flowkd.distillation.hints import Hint, check_hints
from flowkd.distillation.schedules import LossWeights
from flowkd.distillation.targets import TeacherTargets, compute_targets
from flowkd.flows.flow import Ability, Encoding, Flow
from flowkd.flows.teacher import Teacher, missing

# Terms that compare what student and teacher make of the same rows, and those of the taps.
AT_TAPS = ("hints", "log_det")
ENCODED = ("density", "latent", *AT_TAPS)
# What each term needs of a teacher besides its log_prob.
NEEDS: dict[str, Ability] = {
    "samples": "samples",
    "latent": "latents",
    "hints": "taps",
    "log_det": "taps",
    "synthesis": "decoding",
}


@dataclass(frozen=True)
class Losses:
    """A loss and what it is made of.

    Attributes:
        total: The weighted sum, a scalar with a gradient.
        terms: Each term by name, unweighted scalars.
    """

    total: Tensor
    terms: dict[str, Tensor]


class MaximumLikelihood(nn.Module):
    """The negative log-likelihood of data, `nll`, in nats per dimension.

    Args:
        flow: What is trained.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, batch: Batch, progress: float = 0.0) -> Losses:
        """Computes the loss of a batch; how far the training is plays no part."""
        nll = -self.flow(batch.x, batch.context).log_prob.mean() / self.flow.dimensions
        return Losses(nll, {"nll": nll})


class Distillation(nn.Module):
    """A student learns from data and from its teacher.

    With x data, y teacher samples, z ~ N(0, I), h_i the states at the hints' taps and l_i the
    log-dets up to there, D the dimensions, S student, T teacher, and means over rows and all
    dimensions:
    nll = -log p_S(x) / D; samples = -log p_S(y) / D;
    density = mean ((log p_S - log p_T) / D)^2; latent = mean (z_S - z_T)^2;
    hints = mean over i of mean (h_Si - h_Ti)^2; log_det = mean over i of mean ((l_Si - l_Ti) / D)^2
    - these four over x and y together;
    synthesis = mean |S^-1(t z) - T^-1(t z)|, in preprocessed units, with t the temperature.
    Source of nll, latent, hints and synthesis: Distilling Normalizing Flows, 2025,
    https://arxiv.org/abs/2506.21003.

    Args:
        student: What is trained.
        teacher: Is frozen here, and never changes.
        hints: Pairs of taps.
        weights: Weight of each loss term; default nll alone.
        temperature: Standard deviation of the noise for `synthesis`; default 1.

    Raises:
        ValueError: Flows of different events, latents or contexts; a term that needs what the
            teacher has not; hints that could not teach; hints without a weight, or the reverse.
    """

    def __init__(
        self,
        student: Flow,
        teacher: Teacher,
        hints: Sequence[Hint] = (),
        weights: LossWeights | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.weights = weights or LossWeights()
        self.hints = tuple(hints)
        self.temperature = temperature
        lacking = missing(teacher, {n: need for n, need in NEEDS.items() if self.weights.ever(n)})
        if lacking is not None:
            raise ValueError(lacking)
        _check_pair(student, teacher)
        if bool(hints) != self.weights.ever(*AT_TAPS):
            raise ValueError(
                f"expected hints together with a weight for them or for log_det; got {len(hints)} "
                f"hints, hints: {self.weights.hints}, log_det: {self.weights.log_det}"
            )
        check_hints(student, teacher, self.hints)
        self.flow = student
        self.teacher = teacher.requires_grad_(False)

    def forward(self, batch: Batch, progress: float = 0.0) -> Losses:
        """Computes the loss of a batch.

        Args:
            batch: Data, the last `batch.samples` rows of them drawn from the teacher; the very
                same noisy rows go to student and teacher. Answers that it carries are taken as
                the teacher's. `z` is noise, (B, D), for `synthesis`.
            progress: Share of the steps that are done, for weights with a schedule.
        """
        weights = self.weights.at(progress)
        if weights["samples"] and not batch.samples:
            raise ValueError("expected teacher samples for the term 'samples'; got none")
        tapped = any(weights[name] for name in AT_TAPS)
        matched = any(weights[name] for name in ENCODED)
        # Rows of no term are left out: what is infinite there would be NaN in the gradient.
        unused = 0 if matched or weights["nll"] else len(batch) - batch.samples
        terms: dict[str, Tensor] = {}
        if unused < len(batch):
            student = self.flow(
                _from(unused, batch.x),
                _from(unused, batch.context),
                [hint.student for hint in self.hints] if tapped else (),
            )
            terms |= self._likelihood(student, batch, weights)
        if matched:
            taps = [hint.teacher for hint in self.hints] if tapped else ()
            values = batch.targets or compute_targets(self.teacher, batch.x, batch.context, taps)
            terms |= self._matching(student, TeacherTargets(values), weights)
        if weights["synthesis"]:
            terms["synthesis"] = self._synthesis(batch.z, batch.context)
        parts = [weights[name] * term for name, term in terms.items()]
        if "nll" not in terms:
            parts.append(self._nothing())
        return Losses(torch.stack(parts).sum(), terms)

    def _nothing(self) -> Tensor:
        # Other terms may leave parameters out, and DDP waits for the gradient of each.
        return 0.0 * torch.stack([each.sum() for each in self.flow.parameters()]).sum()

    def _likelihood(
        self, student: Encoding, batch: Batch, weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        nats = -student.log_prob / self.flow.dimensions
        data = len(nats) - batch.samples
        terms = {"nll": nats[:data].mean()} if data and weights["nll"] else {}
        if weights["samples"]:
            terms["samples"] = nats[data:].mean()
        return terms

    def _matching(
        self, student: Encoding, teacher: TeacherTargets, weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        dimensions = self.flow.dimensions
        terms: dict[str, Tensor] = {}
        if weights["density"]:
            difference = (student.log_prob - teacher.log_prob) / dimensions
            terms["density"] = difference.square().mean()
        if weights["latent"]:
            terms["latent"] = (student.z - teacher.z).square().mean()
        if weights["hints"]:
            distances = [
                hint.distance(
                    student.states[hint.student],
                    teacher.state(hint.teacher),
                    self.flow.taps[hint.student].channels,
                )
                for hint in self.hints
            ]
            terms["hints"] = torch.stack(distances).mean()
        if weights["log_det"]:
            contributions = [
                student.states[hint.student].log_det - teacher.state(hint.teacher).log_det
                for hint in self.hints
            ]
            terms["log_det"] = (torch.stack(contributions) / dimensions).square().mean()
        return terms

    def _synthesis(self, z: Tensor | None, context: Tensor | None) -> Tensor:
        if z is None:
            raise ValueError("expected noise z of (B, D) for the term 'synthesis'; got none")
        z = self.temperature * z.view(-1, *self.flow.latent_shape)
        context = None if context is None else context[: len(z)]
        with torch.no_grad():
            target, _ = self.teacher.preprocess(self.teacher.inverse(z, context))
        made, _ = self.teacher.preprocess(self.flow.inverse(z, context))
        return (made - target).abs().mean()


def _from(row: int, values: Any) -> Any:
    return values[row:] if row and values is not None else values


def _check_pair(student: Flow, teacher: Teacher) -> None:
    has_latents = not teacher.abilities.isdisjoint(("latents", "decoding"))
    for name in ("event_shape", *(["latent_shape"] if has_latents else []), "context"):
        ours, theirs = getattr(student, name), getattr(teacher, name)
        if ours != theirs:
            remedy = f": {ours.remedy(theirs)}" if name == "context" else ""
            raise ValueError(
                f"expected a student of the teacher's {name} {theirs}; got {ours}{remedy}"
            )
