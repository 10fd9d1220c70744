"""The shapes of student that a space names and a budget allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from pydantic import ValidationError

from flowkd.bijectors import Tap
from flowkd.config import reason
from flowkd.data.manifest import Manifest
from flowkd.distillation.warmstart import check_warm_start
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.configs import FAMILIES
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.training.choices.complete_flow import complete_flow
from tuning.config import SearchConfig
from tuning.space import FieldValue, WarmStartOrNone

MAX_SHAPES = 500

# Returns a flow's log_prob a second over the teacher's.
Rate = Callable[[FlowConfig], float]


@dataclass(frozen=True)
class Shape:
    """A student within the budget.

    Attributes:
        sizes: Values of the fields that the space names.
        flow: Config of the student, without what the data set knows.
        parameters: Number of trainable values.
        taps: Taps of the student by name.
        warm_starts: Those of the space that are possible for it.
        throughput: log_prob a second over the teacher's; NaN if it was not measured.
    """

    sizes: Mapping[str, FieldValue]
    flow: FlowConfig
    parameters: int
    taps: Mapping[str, Tap]
    warm_starts: tuple[WarmStartOrNone, ...]
    throughput: float = math.nan

    @property
    def key(self) -> str:
        """Identifies the shape: its config as JSON."""
        return self.flow.model_dump_json()


def allowed_shapes(
    config: SearchConfig, manifest: Manifest, teacher: Flow, source: FlowConfig, rate: Rate
) -> list[Shape]:
    """Returns the students of a space that the budget allows, in the order of its values.

    Args:
        config: The search.
        manifest: Manifest of the data set.
        teacher: The teacher, for a budget that is a share of its parameters.
        source: The teacher's config, from which students begin.
        rate: Measures throughput; called only if budget or objectives ask for it.

    Raises:
        ConfigError: The budget allows none, or the space names more than 500.
    """
    shapes = []
    for sizes, flow in _every(config, manifest):
        complete = complete_flow(flow, manifest)
        _check_context(complete, source)
        built = build_flow(complete)
        starts = _warm_starts(config, manifest, complete, source)
        shapes.append(Shape(sizes, flow, count_parameters(built), built.taps, starts))
    most = _most_parameters(config, teacher)
    smallest = min(shape.parameters for shape in shapes)
    if smallest > most:
        raise ConfigError(
            f"budget: expected a student of at most {most:,.0f} parameters; got a space whose "
            f"smallest has {smallest:,}: raise the budget, or add a smaller width or fewer steps"
        )
    shapes = [shape for shape in shapes if shape.parameters <= most and shape.warm_starts]
    if not shapes:
        raise ConfigError(
            f"space.warm_start: no student within the budget can begin by "
            f"{', '.join(config.space.warm_start)}: add none, or choose shapes of the teacher's "
            f"family that are smaller than it"
        )
    return _fast_enough(config, shapes, rate)


def _fast_enough(config: SearchConfig, shapes: list[Shape], rate: Rate) -> list[Shape]:
    if not config.times_students:
        return shapes
    timed = [replace(shape, throughput=rate(shape.flow)) for shape in shapes]
    least = config.budget.throughput_ratio or 0.0
    found = [shape for shape in timed if shape.throughput >= least]
    if not found:
        fastest = max(shape.throughput for shape in timed)
        raise ConfigError(
            f"budget: expected a student of at least {least:g} times the teacher's throughput; got "
            f"a space whose fastest has {fastest:.2f}: lower it, or add a smaller width or fewer "
            f"steps"
        )
    return found


def _every(
    config: SearchConfig, manifest: Manifest
) -> Iterator[tuple[dict[str, FieldValue], FlowConfig]]:
    named = {name: values for name, values in config.space.shape if values is not None}
    kinds = named.get("kind", (config.student.kind,))
    for name in named:
        lacking = [str(kind) for kind in kinds if name not in _family(str(kind)).model_fields]
        if lacking:
            raise ConfigError(f"space.shape: flows of kind {lacking[0]} have no {name}")
    if math.prod(map(len, named.values())) > MAX_SHAPES:
        raise ConfigError(
            f"space.shape: expected at most {MAX_SHAPES} shapes; got "
            f"{math.prod(map(len, named.values()))}: name fewer values"
        )
    refused, any_ = "", False
    for values in product(*named.values()):
        sizes = dict(zip(named, values, strict=True))
        try:
            flow = _student(config.student, sizes)
            complete_flow(flow, manifest)
        except (ConfigError, ValidationError) as error:
            refused = reason(error)
            continue
        any_ = True
        yield sizes, flow
    if not any_:
        raise ConfigError(f"space.shape: no student can be built; the last refusal: {refused}")


def _family(kind: str) -> type[FlowConfig]:
    return next(each for each in FAMILIES if each.model_fields["kind"].default == kind)


def _student(student: FlowConfig, sizes: Mapping[str, FieldValue]) -> FlowConfig:
    """Returns a student of some sizes: of its own family, or with what another one has of it."""
    family = _family(str(sizes.get("kind", student.kind)))
    if family is type(student):
        return family.model_validate({**student.model_dump(), **sizes})
    known = student.model_dump(exclude_unset=True, exclude={"kind", *sizes})
    given = {key: value for key, value in known.items() if key in family.model_fields}
    return family.model_validate({**given, **sizes})


def _most_parameters(config: SearchConfig, teacher: Flow) -> float:
    if config.budget.parameters is not None:
        return config.budget.parameters
    if config.budget.parameters_share is not None:
        return config.budget.parameters_share * count_parameters(teacher)
    return math.inf


def _check_context(student: FlowConfig, teacher: FlowConfig) -> None:
    ours, theirs = student.context_spec, teacher.context_spec
    if ours != theirs:
        raise ConfigError(
            f"student: expected the teacher's context, {theirs}; got {ours}: {ours.remedy(theirs)}"
        )


def _warm_starts(
    config: SearchConfig, manifest: Manifest, flow: FlowConfig, source: FlowConfig
) -> tuple[WarmStartOrNone, ...]:
    rows = manifest.splits["train"].rows
    rows = min(rows, config.train_rows or rows)
    return tuple(kind for kind in config.space.warm_start if begins(kind, flow, source, rows))


def begins(kind: WarmStartOrNone, flow: FlowConfig, source: FlowConfig, rows: int) -> bool:
    """Tells whether a student can begin from its teacher in some way.

    Args:
        kind: The way.
        flow: The student's config, complete.
        source: The teacher's.
        rows: How many rows of training there are.
    """
    if kind == "none":
        return True
    try:
        check_warm_start(kind, flow, source, rows)
    except ValueError:
        return False
    return True
