"""A smaller flow from one that was converted from another library: layer by layer, by its data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from operator import itemgetter

import torch
from torch import Tensor

from flowkd.bijectors import (
    ActNorm,
    Autoregressive,
    Bijector,
    Coupling,
    Inverted,
    Invertible1x1,
)
from flowkd.distillation.warmstart.affine import Affine
from flowkd.distillation.warmstart.batching import forward_by_rows, leading_rows
from flowkd.distillation.warmstart.beginning import mean_log_prob
from flowkd.distillation.warmstart.groups import narrow_groups
from flowkd.distillation.warmstart.select import most_telling
from flowkd.distillation.warmstart.width import GRAM_PLACES, narrow
from flowkd.flows.converted.config import ConvertedConfig
from flowkd.flows.converted.layers import AutoregressiveLayer, CouplingLayer, LayerConfig
from flowkd.flows.converted.smaller import paired, widths
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.nn import ConvNet

NetworkLayer = CouplingLayer | AutoregressiveLayer
# A linear map in place of a coupling, and in place of a masked map, of its columns in order.
Fit = tuple[Callable[[Tensor, Tensor, int], Affine], Callable[[Tensor, Tensor], Affine]]
FITS: tuple[Fit, ...] = (
    (Affine.fit, Affine.fit_in_order),
    (Affine.match, Affine.match_in_order),
)


def check_converted(kind: str, student: FlowConfig, source: FlowConfig, rows: int | None) -> None:
    """Raises ValueError unless a student can begin from a source, one of which was converted.

    Args:
        kind: Of warm start.
        student: Its config, complete.
        source: The source's.
        rows: Number of different rows of calibration data; None where it is not known yet.
    """
    if not isinstance(student, ConvertedConfig) or not isinstance(source, ConvertedConfig):
        raise ValueError(
            f"no closed form leads from a flow of kind {_said(source)}, to one of kind "
            f"{_said(student)}, whose layers are others: warm_start: none begins at random, and "
            f"learns from the source's samples"
        )
    if kind not in student.warm_starts:
        raise ValueError(
            f"expected a warm start that flows of kind converted have: "
            f"{', '.join(('none', *student.warm_starts))}; got {kind}"
        )
    for key in sorted({*type(source).model_fields} - {"layers", "origin", "context"}):
        ours, theirs = getattr(student, key) or None, getattr(source, key) or None
        if ours != theirs:
            raise ValueError(f"expected a student of its source's {key}, {theirs}; got {ours}")
    needs = _needs(student, source)
    if rows is not None and rows < needs:
        raise ValueError(
            f"expected calibration data of at least {needs} different rows, to fold its networks; "
            f"got {rows}: give more rows, or begin with none"
        )


def _said(config: FlowConfig) -> str:
    return f"{config.kind}, {config.origin}" if isinstance(config, ConvertedConfig) else config.kind


def _needs(student: ConvertedConfig, source: ConvertedConfig) -> int:
    """Returns how many rows the least squares want: a place of each for a unit, or two unknowns."""
    assert source.event_shape is not None
    channels, *sides = source.event_shape
    places, needs = torch.Size(sides).numel(), 0
    for layer, stands in paired(student.layers, source.layers):
        if layer.kind == "squeeze":
            channels, places = 4 * channels, places // 4
        if not isinstance(layer, NetworkLayer):
            continue
        if len(stands) > 1:
            values = 2 * ((layer.channels or channels) + 1)
        elif stands[0] == layer:
            continue
        else:
            values = max(widths(layer.net), default=0)
        needs = max(needs, -(-values // places))
    return needs


@torch.no_grad()
def fold_converted(
    student: Flow,
    student_config: ConvertedConfig,
    source: Flow,
    source_config: ConvertedConfig,
    x: Tensor,
    context: Tensor | None,
) -> None:
    """Sets a student's layers one after the other, each on what those before it make of the data.

    Linear maps in place of layers are the nearest, or the nearest of the same spread: whichever
    gives the data the higher likelihood.

    Args:
        student: Is changed.
        student_config: What it was built from; `check_converted` has passed it.
        source: The larger flow; only read.
        source_config: What it was built from.
        x: Calibration data, (B, *event_shape).
        context: Context of the calibration data, as the flow takes it; None for none.
    """
    vectors = source.encode_context(context, x)
    pairs = paired(student_config.layers, source_config.layers)
    fits = FITS if any(len(stands) > 1 for _, stands in pairs) else FITS[:1]
    found: list[tuple[float, dict[str, Tensor]]] = []
    for fit in fits:
        _fold(student, student_config, source, source_config, x, vectors, fit)
        likelihood = mean_log_prob(student, x, context)
        found.append((likelihood, copy.deepcopy(student.state_dict())))
    student.load_state_dict(max(found, key=itemgetter(0))[1])


def _fold(
    student: Flow,
    student_config: ConvertedConfig,
    source: Flow,
    source_config: ConvertedConfig,
    x: Tensor,
    context: Tensor | None,
    fit: Fit,
) -> None:
    student.chain["preprocess"].load_state_dict(source.chain["preprocess"].state_dict())
    h, _ = source.preprocess(x)
    ours = iter(_layers(student, student_config))
    pairs = paired(student_config.layers, source_config.layers)
    for (layer, stands), (_, large) in zip(pairs, _layers(source, source_config), strict=True):
        made = [next(ours) for _ in stands]
        state, rest = h.split([each := layer.channels or h.shape[1], h.shape[1] - each], dim=1)
        if len(made) > 1:
            _set_linear(large, [bijector for _, bijector in made], state, context, fit)
        elif made[0][0] == layer:
            made[0][1].load_state_dict(large.state_dict())
        else:
            _narrow(large, made[0][1], state, context)
        for _, bijector in made:
            state, _ = forward_by_rows(bijector, state, context)
        h = torch.cat([state, rest], dim=1) if rest.shape[1] else state


def _layers(flow: Flow, config: ConvertedConfig) -> Iterator[tuple[LayerConfig, Bijector]]:
    for layer, path in zip(config.layers, config.paths(), strict=True):
        bijector = flow.chain[path]
        assert isinstance(bijector, Bijector)
        yield layer, bijector


def _set_linear(
    large: Bijector, made: list[Bijector], state: Tensor, context: Tensor | None, fit: Fit
) -> None:
    """Makes of a matrix and a shift the linear map nearest to one with a network."""
    after, _ = forward_by_rows(large, state, context)
    of_coupling, in_order = fit
    if isinstance(large, Coupling):
        affine = of_coupling(state, after, large.kept)
    else:
        order = torch.tensor(_levels(large)).argsort(stable=True)
        affine = in_order(state[:, order], after[:, order]).of_reordered(order)
    matrix, norm = made
    assert isinstance(matrix, Invertible1x1)
    assert isinstance(norm, ActNorm)
    matrix.set_weight(affine.matrix)
    norm.bias.copy_(affine.shift)
    norm.log_scale.zero_()


def _levels(large: Bijector) -> list[int]:
    inner = large.bijector if isinstance(large, Inverted) else large
    assert isinstance(inner, Autoregressive)
    return inner.conditioner.levels()


def _narrow(large: Bijector, small: Bijector, state: Tensor, context: Tensor | None) -> None:
    """Sets a map of a narrower network, on what the wide one sees."""
    seen = state
    if isinstance(large, Inverted) and isinstance(small, Inverted):
        seen, _ = forward_by_rows(large, state, context)
        large, small = large.bijector, small.bijector
    if isinstance(large, Coupling) and isinstance(small, Coupling):
        theirs, ours = large.conditioner, small.conditioner
        seen = seen[:, : large.kept]
    else:
        assert isinstance(large, Autoregressive)
        assert isinstance(small, Autoregressive)
        theirs, ours = large.conditioner, small.conditioner
    if isinstance(theirs, ConvNet):
        narrow(theirs, ours, seen, context, most_telling)
        return
    narrow_groups(theirs, ours, *leading_rows(seen, context, GRAM_PLACES))
    ours.load_state_dict(ours.state_dict())  # masks are others now: levels are found anew
