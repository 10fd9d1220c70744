"""How far a flow is from another, by samples of both: divergences and the effective size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from flowkd.config import Config
from flowkd.data.rows import Examples
from flowkd.data.shuffle import derive_seed, seeded_generator
from flowkd.evaluation.intervals import COVERED, Interval
from flowkd.evaluation.metrics import rows_for
from flowkd.flows.flow import Flow

BATCH = 500
RESAMPLES = 500


class DivergenceConfig(Config):
    """How flows of tables are compared with the first, by their samples.

    Attributes:
        samples: Of each flow; default 2000.
        seed: Of their noise and contexts; default 0.
    """

    samples: int = Field(2000, ge=100)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Divergence:
    """How far a student S is from its teacher T, with 95% intervals at this number of samples.

    Attributes:
        from_teacher: KL(T || S) = mean log p_T(y) - log p_S(y) over y ~ T, in nats: large where S
            has too little density where T has much.
        to_teacher: KL(S || T) = mean log p_S(x) - log p_T(x) over x ~ S, in nats: large where S
            makes what T would not.
        effective: Effective sample size of S for T, as a share of the samples:
            (sum w)^2 / (n sum w^2) of weights w = p_T(x) / p_S(x), x ~ S; 1 where they are equal.
            Weights that are too rare to be among so many samples make it too large.
        samples: Of each flow.
        left_out: How many of all these were left out because a density or a value of theirs was not
            finite; both divergences are larger than they seem then.
    """

    from_teacher: Interval
    to_teacher: Interval
    effective: Interval
    samples: int
    left_out: int = 0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Divergence:
        """Returns what `asdict` made of it."""
        parts = {name: Interval(**values[name]) for name in FIGURES}
        return cls(**parts, samples=values["samples"], left_out=values["left_out"])


FIGURES = ("from_teacher", "to_teacher", "effective")


def comparable(student: Flow, teacher: Flow) -> bool:
    """Tells whether divergences of two flows are measured: of tables, of the same context."""
    same = student.event_shape == teacher.event_shape and student.context == teacher.context
    return same and len(teacher.event_shape) == 1


@torch.no_grad()
def measure_divergence(
    student: Flow, teacher: Flow, rows: Examples, config: DivergenceConfig | None = None
) -> Divergence:
    """Returns how far a student is from its teacher, by samples of both.

    Args:
        student: Of the teacher's event shape and context.
        teacher: The flow that it is compared with.
        rows: Whose contexts are drawn, for flows that have one.
        config: Number of samples and seed.

    References:
        Kong, A note on importance sampling using standardized weights, 1992 (the effective size).
    """
    config = config or DivergenceConfig()
    given = _contexts(rows_for(teacher, rows), config)
    ratios = {
        name: _log_ratios(drawn, student, teacher, given, config, name)
        for name, drawn in (("teacher", teacher), ("student", student))
    }
    good = {name: values[np.isfinite(values)] for name, values in ratios.items()}
    left_out = sum(len(ratios[name]) - len(good[name]) for name in ratios)
    return Divergence(
        _mean(good["teacher"]),
        _mean(-good["student"]),
        _effective(good["student"], config.samples, config.seed),
        config.samples,
        left_out,
    )


def _contexts(rows: Examples, config: DivergenceConfig) -> Tensor | None:
    if rows.context is None:
        return None
    generator = seeded_generator(config.seed, "divergence/contexts")
    return rows.context[torch.randint(len(rows), (config.samples,), generator=generator)]


def _log_ratios(
    drawn: Flow,
    student: Flow,
    teacher: Flow,
    given: Tensor | None,
    config: DivergenceConfig,
    name: str,
) -> np.ndarray:
    """Returns log p_T - log p_S of samples of one of them, (N,); NaN where one is not finite."""
    z = drawn.draw_latents(
        config.samples, generator=seeded_generator(config.seed, f"divergence/{name}")
    ).to(next(drawn.parameters()))
    found = []
    for start in range(0, config.samples, BATCH):
        part = slice(start, start + BATCH)
        context = None if given is None else given[part].to(z.device)
        x = drawn.inverse(z[part], context)
        found.append(teacher.log_prob(x, context).double() - student.log_prob(x, context).double())
    return torch.cat(found).cpu().numpy()


def _mean(values: np.ndarray) -> Interval:
    if len(values) < 2:
        return Interval(math.nan)
    mean, error = float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
    wide = NormalDist().inv_cdf((1 + COVERED) / 2) * error
    return Interval(mean, error, mean - wide, mean + wide)


def _effective(log_weights: np.ndarray, samples: int, seed: int) -> Interval:
    """Returns the effective share of so many samples; those left out weigh nothing."""
    if not len(log_weights):
        return Interval(math.nan)
    weights = np.exp(log_weights - log_weights.max())
    weights = np.concatenate([weights, np.zeros(samples - len(weights))])
    draws = np.random.default_rng(derive_seed(seed, "divergence/bootstrap"))
    counts = draws.multinomial(samples, np.full(samples, 1 / samples), RESAMPLES)
    counts = np.concatenate([np.ones((1, samples)), counts])
    with np.errstate(invalid="ignore"):
        shares = (counts @ weights) ** 2 / (samples * (counts @ weights**2))
    drawn = shares[1:][np.isfinite(shares[1:])]
    low, high = np.quantile(drawn, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return Interval(float(shares[0]), float(drawn.std(ddof=1)), float(low), float(high))
