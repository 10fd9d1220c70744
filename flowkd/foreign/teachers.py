"""Flows of other libraries as they are: teachers that their own library computes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from flowkd.errors import ConversionError
from flowkd.flows.context import ContextUnits
from flowkd.foreign.adapters.base import Adapter
from flowkd.foreign.libraries import library_of, origin_of, part_for
from flowkd.foreign.normalised import check_normalised
from flowkd.foreign.units import Units


def adapt(
    module: nn.Module,
    *,
    mean: float | Sequence[float] | None = None,
    scale: float | Sequence[float] | None = None,
    context_mean: float | Sequence[float] | None = None,
    context_scale: float | Sequence[float] | None = None,
) -> Adapter:
    """Returns a flow of nflows, normflows or zuko as a teacher, for `flowkd.fit` and `distill`.

    What `convert` cannot take over teaches nevertheless: by its log_prob, by samples, and, if its
    base is standard normal, by its latents. It cannot be published, served or timed. That its
    log_prob integrates to 1 is checked, in some seconds at most; where nothing can be told, its
    `remarks` say so.

    Args:
        module: The flow, trained; it is frozen.
        mean: Subtracted from the data before it sees them; default 0.
        scale: What they are divided by then; default 1.
        context_mean: Subtracted from context vectors before it sees them; default 0.
        context_scale: What they are divided by then; default 1.

    Raises:
        ConversionError: A module that is no flow of these libraries, or whose log_prob does not
            integrate to 1.
        ConfigError: Its library is not installed.

    See also:
        `convert`: a flow of flowkd with the same density.
    """
    units = Units.model_validate(
        {"mean": mean, "scale": scale, "context_mean": context_mean, "context_scale": context_scale}
    )
    return checked(adapted(module, units))


def checked(teacher: Adapter) -> Adapter:
    """Returns a teacher with remarks; raises ConversionError where it is no density."""
    remark = check_normalised(teacher, origin_of(teacher.module))
    teacher.remarks = [] if remark is None else [remark]
    return teacher


def adapted(module: nn.Module, units: Units) -> Adapter:
    """Returns a flow as `adapt` does, of data in given units."""
    part = part_for(library_of(module), "adapters")
    try:
        shape = part.event_shape_of(module)
        context = part.context_of(module, shape)
    except (AttributeError, TypeError, IndexError, KeyError) as error:
        raise ConversionError(
            f"expected a whole flow, of which the base tells the shape; got a "
            f"{type(module).__name__} of another form: {error}"
        ) from error
    of_context = ContextUnits(context.size, *units.of_context) if context.size else None
    mean = 0.0 if units.mean is None else units.mean
    scale = 1.0 if units.scale is None else units.scale
    teacher: Adapter = part.TEACHER(module, shape, context, mean, scale, of_context)
    return teacher
