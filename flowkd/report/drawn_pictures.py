"""What a page shows of flows of pictures: samples, how far students are off, and ways between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.rows import Examples
from flowkd.flows.flow import Flow
from flowkd.report.drawn import SEED, inverse_of, samples_of

TEMPERATURE = 0.8
STEPS, PAIRS = 8, 4  # pictures of a way, its ends included; ways
WHITE = 0.99  # share of the pixels of error maps that are below white


@dataclass(frozen=True)
class DrawnPictures:
    """Pictures of a page, uint8 levels 0..255, (N, C, H, W), by caption.

    Attributes:
        samples: Held-out pictures, then samples of each flow from the same latents.
        errors: How far each other flow's samples are from the first one's, (N, 1, H, W).
        between: STEPS pictures from one held-out picture to another, PAIRS times, of each flow.
    """

    samples: Mapping[str, np.ndarray] = field(default_factory=dict)
    errors: Mapping[str, np.ndarray] = field(default_factory=dict)
    between: Mapping[str, np.ndarray] = field(default_factory=dict)


def drawn_pictures(flows: Mapping[str, Flow], rows: Examples, bins: int) -> DrawnPictures:
    """Returns what flows draw beside held-out pictures.

    Args:
        flows: By label; the others' samples are compared with the first one's.
        rows: Held-out pictures, uint8; as many samples are drawn.
        bins: Number of values of a pixel.
    """
    drawn = samples_of(flows, rows, temperature=TEMPERATURE)
    samples = {"held-out pictures": rows.x.float()}
    samples |= {f"samples of {label}": made for label, made in drawn.items()}
    between = {}
    if len(rows) > 1:
        ways = {label: ways_between(flow, rows, bins) for label, flow in flows.items()}
        between = {f"ways of {label}": each for label, each in ways.items()}
    return DrawnPictures(
        {caption: _levels(pictures, bins) for caption, pictures in samples.items()},
        error_maps(drawn),
        {caption: _levels(pictures, bins) for caption, pictures in between.items()},
    )


def error_maps(drawn: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Returns |S^-1(z) - T^-1(z)|, the mean over channels, of each other flow and the first.

    All are of one scale, from black for none to white. The captions tell it, and the mean.
    """
    reference, *_ = drawn.values()
    off = {
        label: (made - reference).nan_to_num(0, 0, 0).abs().mean(1, keepdim=True)
        for label, made in list(drawn.items())[1:]
    }
    if not off:
        return {}
    together = torch.cat([each.flatten() for each in off.values()]).numpy()
    white = float(np.quantile(together, WHITE)) or 1.0
    return {
        f"{label}: {each.mean():.2g} levels off, white is {white:.2g}": (
            (each * (255 / white)).clamp(0, 255).round().to(torch.uint8).numpy()
        )
        for label, each in off.items()
    }


@torch.no_grad()
def ways_between(flow: Flow, rows: Examples, bins: int) -> Tensor:
    """Returns STEPS pictures from one of the first rows to the next, PAIRS times, in data units.

    Latents go along great circles, their lengths linearly, for where a normal density in many
    dimensions has its mass, its middle has none.
    """
    count = min(2 * PAIRS, len(rows) // 2 * 2)
    first = next(evaluation_batches(rows.slice(0, count), bins, count, SEED))
    context = first.context if flow.context.width else None
    z = flow(first.x, context).z
    ways = [great_circle(z[place], z[place + 1]) for place in range(0, count, 2)]
    given = None if context is None else context[0:count:2].repeat_interleave(STEPS, 0)
    return inverse_of(flow, torch.cat(ways), given)


def great_circle(start: Tensor, end: Tensor, steps: int = STEPS) -> Tensor:
    """Returns so many latents from one to another, (steps, *latent_shape), the ends included.

    Examples:
        >>> way = great_circle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3)
        >>> [[round(value, 3) for value in z] for z in way.tolist()]
        [[1.0, 0.0], [0.707, 0.707], [0.0, 1.0]]
    """
    share = torch.linspace(0, 1, steps, dtype=start.dtype).view(-1, *(1,) * start.dim())
    lengths = start.norm(), end.norm()
    ours, theirs = start / lengths[0].clamp_min(1e-9), end / lengths[1].clamp_min(1e-9)
    angle = torch.arccos((ours * theirs).sum().clamp(-1, 1))
    if angle.sin() < 1e-4:  # one direction, or opposite ones, between which there is no one way
        return start + share * (end - start)
    turned = torch.sin((1 - share) * angle) * ours + torch.sin(share * angle) * theirs
    return turned / angle.sin() * (lengths[0] + share * (lengths[1] - lengths[0]))


def _levels(pictures: Tensor, bins: int) -> np.ndarray:
    """Returns pixels in data units as levels 0..255."""
    pixels = pictures.nan_to_num().floor().clamp(0, bins - 1)
    levels: np.ndarray = (pixels * (255 / (bins - 1))).round().to(torch.uint8).numpy()
    return levels
