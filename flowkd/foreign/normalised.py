"""Whether the log_prob of a flow of another library is a density: whether it integrates to 1."""

from __future__ import annotations

import copy
import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from flowkd.errors import ConversionError
from flowkd.flows.context import ContextUnits, example_context
from flowkd.flows.flow import Flow
from flowkd.foreign.adapters.base import Adapter

SECONDS = 5.0  # of the CPU that a check may take, but for the last call of the library

# By volume: rows, the most dimensions, and by how much log_prob may be off of half of the rows,
# relative to its size.
ROWS, MOST_VOLUME, OFF = 3, 256, 1e-3

# By importance sampling: the most dimensions, samples of the teacher, points of each width, and
# the widths of what is drawn around samples, in the usual one for so many.
MOST_INTEGRAL, CENTRES, POINTS, WIDTHS = 8, 500, 2000, (1.0, 0.5, 0.25)
CHUNK = 500  # points in one call of the library
TOLERANCE, ERRORS = 0.05, 4.0  # the integral may be off by this, and by so many standard errors
EFFECTIVE = 100  # of points that count; of fewer nothing can be said


class Integral(NamedTuple):
    """What importance sampling found.

    Attributes:
        value: Of the integral of exp(log_prob).
        error: Standard error.
        effective: Effective number of points.
    """

    value: float
    error: float
    effective: float


def check_normalised(teacher: Adapter | Flow, name: str) -> str | None:
    """Raises ConversionError for a log_prob that does not integrate to 1, as far as can be told.

    Of a teacher with latents log_prob is compared with the volume that its map takes up, by
    autograd; of one that has samples alone, in few dimensions, exp(log_prob) is integrated. Either
    ends after some seconds.

    Args:
        teacher: Of one context, if it has one, the check is made.
        name: What it is called in messages.

    Returns:
        A remark where nothing could be told; else None.
    """
    exact = copy.deepcopy(teacher).cpu().double()
    units: ContextUnits | None = exact.context_units
    generator = torch.Generator().manual_seed(0)
    one = example_context(exact.context, units, 1, generator)
    stop = time.thread_time() + SECONDS
    if "latents" in exact.abilities:
        return _check_volume(exact, name, one, generator, stop)
    if "samples" not in exact.abilities:
        return _unknown("it has neither latents nor samples")
    if exact.dimensions > MOST_INTEGRAL or len(exact.event_shape) > 1:
        return _unknown(f"it has no latents, and more than {MOST_INTEGRAL} columns")
    found = integral(exact, one, generator, stop)
    if found is None or found.effective < EFFECTIVE:
        return _unknown(f"importance sampling around its samples told nothing in {SECONDS:g} s")
    if abs(found.value - 1) > TOLERANCE + ERRORS * found.error:
        raise ConversionError(
            f"{name}: expected a log_prob that integrates to 1; got {found.value:.3g} ± "
            f"{found.error:.1g}, by importance sampling around its own samples{_HINT}"
        )
    return None


_HINT = (
    ": is one of its layers a class of your own, whose log-determinant is not that of its map, or "
    "is its base no density?"
)


def _unknown(why: str) -> str:
    return f"it was not checked that its log_prob integrates to 1: {why}"


def _check_volume(
    teacher: Adapter | Flow, name: str, one: Tensor | None, generator: torch.Generator, stop: float
) -> str | None:
    if teacher.dimensions > MOST_VOLUME:
        return _unknown(f"it has more than {MOST_VOLUME} values in an example")
    context = None if one is None else one.expand(ROWS, *one.shape[1:])
    x = teacher.preprocess.inverse(
        torch.randn(ROWS, *teacher.event_shape, generator=generator, dtype=torch.float64)
    )[0]
    if "samples" in teacher.abilities:
        x = teacher.sample(ROWS, context, generator=generator)
    known = log_prob_by_volume(teacher, x, context, stop)
    if known is None:
        return _unknown(f"its map could not be differentiated within {SECONDS:g} s")
    with torch.no_grad():
        off = teacher.log_prob(x, context) - known
    middle = off[(off / known.abs().clamp(min=1.0)).abs().nan_to_num(torch.inf).argsort()][
        len(off) // 2
    ].item()
    if not abs(middle) <= OFF * max(1.0, known.abs().median().item()):
        raise ConversionError(
            f"{name}: expected a log_prob that integrates to 1; got one that is off by "
            f"{middle:.3g} nats from that of its map and its normal base{_HINT}"
        )
    return None


def log_prob_by_volume(
    teacher: Adapter | Flow, x: Tensor, context: Tensor | None, stop: float = math.inf
) -> Tensor | None:
    """Returns log N(z; 0, 1) + log|det dz/dx|, (B,), of a teacher that has latents, by autograd.

    Args:
        teacher: Its log_prob is not asked for.
        x: (B, *event_shape).
        context: Of as many rows.
        stop: This thread's CPU time at which it gives up.

    Returns:
        None where the teacher has no gradients, or at `stop`.
    """
    x = x.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            z = teacher(x, context).z.flatten(1)
            rows = []
            for column in z.sum(0):
                if time.thread_time() > stop:
                    return None
                rows.append(torch.autograd.grad(column, x, retain_graph=True)[0].flatten(1))
    except RuntimeError:  # of autograd: what the library does has no gradient
        return None
    log_det = torch.linalg.slogdet(torch.stack(rows, dim=1))[1]
    normal = -0.5 * (z.detach().square() + math.log(2 * math.pi)).sum(1)
    return normal + log_det


@torch.no_grad()
def integral(
    teacher: Adapter | Flow, one: Tensor | None, generator: torch.Generator, stop: float = math.inf
) -> Integral | None:
    """Returns the integral of exp(log_prob) by importance sampling around a teacher's samples.

    Points are drawn from normal distributions around samples, cut off at the box of the samples,
    for beyond a teacher may be defined otherwise. What lies outside of it is made up for: of each
    column, one part in CENTRES + 1 at either end.

    Args:
        teacher: It has samples, of few columns.
        one: Context of one row; None for none.
        generator: Chooses.
        stop: This thread's CPU time at which it gives up.

    Returns:
        Of the first width with a quarter of POINTS that count, else of that with the most; None
        where no width was finished.
    """
    centres = teacher.sample(CENTRES, _times(one, CENTRES), generator=generator)
    usual = centres.std(0) * CENTRES ** (-1 / (centres.shape[1] + 4))
    if not bool((usual > 0).all() and usual.isfinite().all()):
        return None
    inside = 1 - 2 * centres.shape[1] / (CENTRES + 1)
    found: list[Integral] = []
    for width in WIDTHS:
        x, log_q = _around(centres, width * usual, generator)
        log_p = []
        for part in x.split(CHUNK):
            if time.thread_time() > stop:
                return max(found, key=lambda each: each.effective, default=None)
            log_p.append(teacher.log_prob(part, _times(one, len(part))))
        weights = (torch.cat(log_p) - log_q).exp() / inside
        if bool(weights.isfinite().all()) and bool(weights.any()):
            effective = weights.sum() ** 2 / weights.square().sum()
            error = weights.std() / len(weights) ** 0.5
            found.append(Integral(weights.mean().item(), error.item(), effective.item()))
            if found[-1].effective >= POINTS / 4:
                break
    return max(found, key=lambda each: each.effective, default=None)


def _times(one: Tensor | None, rows: int) -> Tensor | None:
    return None if one is None else one.expand(rows, *one.shape[1:])


def _around(centres: Tensor, width: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws POINTS from a mixture of normal distributions within a box, with their log-density."""
    low, high = centres.amin(0), centres.amax(0)
    at = torch.randint(len(centres), (POINTS,), generator=generator)
    below = torch.special.ndtr((low - centres) / width)
    inside = torch.special.ndtr((high - centres) / width) - below
    u = torch.rand(POINTS, len(width), generator=generator, dtype=centres.dtype)
    x = centres[at] + width * torch.special.ndtri(below[at] + u * inside[at])
    x = x.clamp(low, high)
    each = -0.5 * ((x[:, None] - centres) / width).square() - (width * inside).log()
    log_q = (each - 0.5 * math.log(2 * math.pi)).sum(2).logsumexp(1) - math.log(len(centres))
    return x, log_q
