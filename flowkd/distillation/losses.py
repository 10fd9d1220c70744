"""What a flow is trained to do: each objective is a module, so that DDP can wrap it whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.data.batch import Batch
from flowkd.distillation.cycles import (
    CYCLES,
    FROM_NOISE,
    OF_DATA,
    check_directions,
    data_terms,
    noise_terms,
)
from flowkd.distillation.hints import Hint, check_hints
from flowkd.distillation.schedules import OF_NOISE, LossWeights
from flowkd.distillation.targets import TeacherTargets, compute_targets
from flowkd.flows.flow import Ability, Encoding, Flow
from flowkd.flows.teacher import Teacher, missing

# Terms that compare what student and teacher make of the same rows, and those of the taps.
ENCODED_TAPS = ("hints", "log_det")
AT_TAPS = (*ENCODED_TAPS, "cycle_hints")
MATCHED = ("density", "latent", *ENCODED_TAPS)
ENCODED = ("nll", "samples", *MATCHED)
# What each term needs of a teacher besides its log_prob.
NEEDS: dict[str, Ability] = {
    "samples": "samples",
    "latent": "latents",
    "hints": "taps",
    "log_det": "taps",
    "synthesis": "decoding",
    "data_cycle": "latents",
    "noise_cycle": "latents",
    "cycle_hints": "taps",
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
        terms = self.terms(batch, ("nll",))
        return Losses(terms["nll"], terms)

    def terms(self, batch: Batch, wanted: Collection[str]) -> dict[str, Tensor]:
        """Computes the terms of a batch, scalars: there is only `nll`."""
        nll = -self.flow(batch.x, batch.context).log_prob.mean() / self.flow.dimensions
        return {"nll": nll}


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
    For a student that samples in one pass, with s = S^-1(t z), in preprocessed units too:
    data_cycle = mean (S^-1(T(x)) - x)^2, over x and y; noise_cycle = mean (T(s) - t z)^2;
    reverse_kl = mean (log p_S(s) - log p_T(s)) / D; cycle_hints = as hints, of the states on the
    ways of data_cycle and of noise_cycle or reverse_kl, those that have a weight, on average.
    Source of nll, latent, hints and synthesis: Distilling Normalizing Flows, 2025,
    https://arxiv.org/abs/2506.21003; of data_cycle and noise_cycle, the x-term and the z-term
    there: CaloFlow II, 2021, https://arxiv.org/abs/2110.11377; of reverse_kl: Parallel WaveNet,
    2017, https://arxiv.org/abs/1711.10433.

    Args:
        student: What is trained.
        teacher: Is frozen here, and never changes.
        hints: Pairs of taps.
        weights: Weight of each loss term; default nll alone.
        temperature: Standard deviation of the noise for `synthesis`, `noise_cycle` and
            `reverse_kl`; default 1.

    Raises:
        ValueError: Flows of different events, latents or contexts; a term that needs what the
            teacher has not; hints that could not teach; hints without a weight, or the reverse;
            terms in a direction that takes a pass for each column.
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
                f"expected hints together with a weight for them, for log_det or for cycle_hints; "
                f"got {len(hints)} hints, hints: {self.weights.hints}, log_det: "
                f"{self.weights.log_det}, cycle_hints: {self.weights.cycle_hints}"
            )
        if self.weights.ever("cycle_hints") and not self.weights.ever(*CYCLES):
            raise ValueError(
                f"expected a weight for {' or '.join(CYCLES)}, on whose way cycle_hints are; got "
                f"none"
            )
        check_hints(student, teacher, self.hints)
        check_directions(student, teacher, self.weights)
        self.flow = student
        self.teacher = teacher.requires_grad_(False)

    def forward(self, batch: Batch, progress: float = 0.0) -> Losses:
        """Computes the loss of a batch.

        Args:
            batch: Data, the last `batch.samples` rows of them drawn from the teacher; the very
                same noisy rows go to student and teacher. Answers that it carries are taken as
                the teacher's. `z` is noise, (B, D), for `synthesis` and what decodes noise.
            progress: Share of the steps that are done, for weights with a schedule.
        """
        weights = self.weights.at(progress)
        if weights["samples"] and not batch.samples:
            raise ValueError("expected teacher samples for the term 'samples'; got none")
        noisy = [name for name in OF_NOISE if weights[name]]
        if noisy and batch.z is None:
            raise ValueError(f"expected noise z of (B, D) for the term {noisy[0]!r}; got none")
        terms = self.terms(batch, tuple(name for name, weight in weights.items() if weight))
        parts = [weights[name] * term for name, term in terms.items()]
        if "nll" not in terms:
            parts.append(self._nothing())
        return Losses(torch.stack(parts).sum(), terms)

    def terms(self, batch: Batch, wanted: Collection[str]) -> dict[str, Tensor]:
        """Computes the terms that are wanted of a batch, scalars by name, without their weights.

        What changes at each step, the weights, is left to `forward`: this is what is compiled.
        """
        tapped = any(name in wanted for name in ENCODED_TAPS)
        matched = any(name in wanted for name in MATCHED)
        # Rows of no term are left out: what is infinite there would be NaN in the gradient.
        unused = 0 if matched or "nll" in wanted else len(batch) - batch.samples
        terms: dict[str, Tensor] = {}
        if unused < len(batch) and any(name in wanted for name in ENCODED):
            student = self.flow(
                _from(unused, batch.x),
                _from(unused, batch.context),
                [hint.student for hint in self.hints] if tapped else (),
            )
            terms |= self._likelihood(student, batch, wanted)
        on_way = self.hints if "cycle_hints" in wanted else ()
        cycled = any(name in wanted for name in OF_DATA)
        if matched or cycled:
            taps = [hint.teacher for hint in self.hints] if tapped or on_way else ()
            values = batch.targets or compute_targets(self.teacher, batch.x, batch.context, taps)
            targets = TeacherTargets(values)
            if matched:
                terms |= self._matching(student, targets, wanted)
            if cycled:
                terms |= data_terms(
                    self.flow, self.teacher, on_way, batch.x, batch.context, targets
                )
        if "synthesis" in wanted:
            terms["synthesis"] = self._synthesis(*self._noise(batch))
        if any(name in wanted for name in FROM_NOISE):
            z, context = self._noise(batch)
            made = noise_terms(self.flow, self.teacher, on_way, z, context, wanted)
            if "cycle_hints" in terms:
                made["cycle_hints"] = (made["cycle_hints"] + terms["cycle_hints"]) / 2
            terms |= made
        return terms

    def _nothing(self) -> Tensor:
        # Other terms may leave parameters out, and DDP waits for the gradient of each.
        return 0.0 * torch.stack([each.sum() for each in self.flow.parameters()]).sum()

    def _likelihood(
        self, student: Encoding, batch: Batch, wanted: Collection[str]
    ) -> dict[str, Tensor]:
        nats = -student.log_prob / self.flow.dimensions
        data = len(nats) - batch.samples
        terms = {"nll": nats[:data].mean()} if data and "nll" in wanted else {}
        if "samples" in wanted:
            terms["samples"] = nats[data:].mean()
        return terms

    def _matching(
        self, student: Encoding, teacher: TeacherTargets, wanted: Collection[str]
    ) -> dict[str, Tensor]:
        dimensions = self.flow.dimensions
        terms: dict[str, Tensor] = {}
        if "density" in wanted:
            difference = (student.log_prob - teacher.log_prob) / dimensions
            terms["density"] = difference.square().mean()
        if "latent" in wanted:
            terms["latent"] = (student.z - teacher.z).square().mean()
        if "hints" in wanted:
            distances = [
                hint.distance(
                    student.states[hint.student],
                    teacher.state(hint.teacher),
                    self.flow.taps[hint.student].channels,
                )
                for hint in self.hints
            ]
            terms["hints"] = torch.stack(distances).mean()
        if "log_det" in wanted:
            contributions = [
                student.states[hint.student].log_det - teacher.state(hint.teacher).log_det
                for hint in self.hints
            ]
            terms["log_det"] = (torch.stack(contributions) / dimensions).square().mean()
        return terms

    def _noise(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Returns latents of a batch's noise, and the contexts of as many rows."""
        assert batch.z is not None
        z = self.temperature * batch.z.view(-1, *self.flow.latent_shape)
        return z, None if batch.context is None else batch.context[: len(z)]

    def _synthesis(self, z: Tensor, context: Tensor | None) -> Tensor:
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
