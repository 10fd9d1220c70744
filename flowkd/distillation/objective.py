"""What a flow is trained to do, as it is written in YAML: maximum likelihood, or distillation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flowkd.distillation.cache import CacheConfig
from flowkd.distillation.hints import Hint
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.schedules import Cosine, LossWeights
from flowkd.distillation.student_size import StudentSize
from flowkd.distillation.teacher_samples import SamplesConfig
from flowkd.distillation.warmstart import WarmStart
from flowkd.flows.flow import Flow
from flowkd.flows.teacher import Teacher
from flowkd.foreign.source import ForeignFlow

# What docs/results/study.md found best: data, and the teacher's samples less and less.
BEST_WEIGHTS = LossWeights(nll=1.0, samples=Cosine(start=1.0))
# For a student that samples in one pass, but encodes column by column.
DECODED_WEIGHTS = LossWeights(nll=0.0, data_cycle=1.0, reverse_kl=1.0)


class MaximumLikelihoodConfig(StudentSize):
    """Train on data alone.

    Attributes:
        smaller_than: Reference of a larger flow that it is compared with. A run that names no flow
            trains one of the same family, as a distillation of that flow with the same share, or
            throughput, would; one with `steps: auto` takes as many steps as it. It learns
            nothing of it.
        share: Of that flow's parameters, at most; default 0.25, unless `throughput` is given.
        throughput: How many times that flow's, at least, in place of a share; default none.
    """

    kind: Literal["maximum_likelihood"] = "maximum_likelihood"
    smaller_than: str | None = None

    def build(self, flow: Flow, teacher: Teacher | None = None) -> MaximumLikelihood:
        """Returns the objective of a flow."""
        return MaximumLikelihood(flow)


class DistillationConfig(StudentSize):
    """Train on data and a teacher.

    Attributes:
        teacher: Reference of the teacher's artifact, `runs/RUN` or `models/NAME@VERSION`; or a flow
            of another library that its own library computes, by `library`, `build` and `weights`.
        share: Of the teacher's parameters, at most, that the student has, if the run names no flow;
            default 0.25, unless `throughput` is given.
        throughput: How many times the teacher's, at least, that student's is, by log_prob and by
            sampling, in place of a share: shapes are timed on this machine; default none.
        hints: Pairs of taps, one of the student's and one of the teacher's each; default none.
        weights: Of the loss terms; default what docs/results/study.md found best: data, and the
            teacher's samples less and less; without data, samples alone; for a student that
            encodes rows column by column, data_cycle and reverse_kl.
        temperature: Standard deviation of the noise for the terms `synthesis`, `noise_cycle` and
            `reverse_kl`; default 1.
        samples: Teacher samples, for the term `samples`.
        cache: Whether the teacher's targets are computed once, before training.
        warm_start: How the student's parameters begin; `none` is at random, and `auto`, the
            default, as the folded teacher where that can be and its likelihood of the data is no
            lower than at random, else at random.
        warm_from: Reference of the flow that it begins from; default the teacher.
    """

    kind: Literal["distillation"] = "distillation"
    teacher: str | ForeignFlow
    hints: tuple[Hint, ...] = ()
    weights: LossWeights = BEST_WEIGHTS
    temperature: float = Field(1.0, gt=0)
    samples: SamplesConfig = SamplesConfig()
    cache: CacheConfig = CacheConfig()
    warm_start: Literal["auto", "none"] | WarmStart = "auto"
    warm_from: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> DistillationConfig:
        if isinstance(self.teacher, ForeignFlow):
            self._check_foreign()
        if self.warm_from is not None and self.warm_start == "none":
            raise ValueError("expected a warm_start to begin from warm_from; got none")
        if self.warm_start == "none" and not self.weights.learns_from_teacher:
            raise ValueError(
                "expected something to learn from the teacher; got warm_start: none and no weight "
                "but nll, which is a training on data alone: leave one of them out, or make it "
                "objective: {kind: maximum_likelihood}"
            )
        if self.cache.kind != "none" and self.weights.ever("samples") and not self.samples.rows:
            raise ValueError(
                f"expected cache.kind: none for samples drawn at every step; got {self.cache.kind}:"
                f" set samples.rows to draw them before training"
            )
        return self

    def _check_foreign(self) -> None:
        """Raises ValueError for what is known of flows of flowkd alone."""
        if self.share is not None or self.throughput is not None:
            raise ValueError(
                "expected a flow in place of share or throughput, for a teacher of another library "
                "that is used as it is; got none: name the student's flow, or convert the teacher "
                "by `flowkd models import`"
            )
        if self.warm_start not in ("auto", "none") and self.warm_from is None:
            raise ValueError(
                f"expected warm_start: none for a teacher of another library; got "
                f"{self.warm_start}: convert the teacher by `flowkd models import`"
            )

    @property
    def source(self) -> str | None:
        """Reference of the flow that the student begins from; None where it begins at random."""
        own = self.teacher if isinstance(self.teacher, str) else None
        return None if self.warm_start == "none" else self.warm_from or own

    def build(self, flow: Flow, teacher: Teacher | None = None) -> Distillation:
        """Returns the objective of a student and its teacher; raises ValueError as it does."""
        assert teacher is not None
        return Distillation(flow, teacher, self.hints, self.weights, self.temperature)


ObjectiveConfig = Annotated[
    MaximumLikelihoodConfig | DistillationConfig, Field(discriminator="kind")
]
