"""Training and distillation of rows in memory: no store, no config file, no cluster."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import ValidationError

from flowkd.columns import ColumnTransforms
from flowkd.config import reason
from flowkd.distillation.hints import Hint
from flowkd.distillation.objective import (
    DistillationConfig,
    MaximumLikelihoodConfig,
    ObjectiveConfig,
)
from flowkd.distillation.schedules import LossWeights
from flowkd.distillation.teacher_samples import SamplesConfig
from flowkd.distillation.warmstart import WarmStart, check_warm_start
from flowkd.errors import ConfigError
from flowkd.flows.build import config_of, smaller, standardize, unit_keys
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.foreign.adapters.base import Adapter
from flowkd.training.choices.weights import default_weights
from flowkd.training.in_memory import IN_MEMORY, History, in_memory_run, train_in_memory
from flowkd.training.memory_rows import MemoryRows, Validation, Values
from flowkd.training.train_config import LearningRate, TrainConfig

Weights = LossWeights | Mapping[str, Any]


def fit(
    flow: Flow,
    x: Values,
    context: Values | None = None,
    *,
    teacher: Flow | Adapter | None = None,
    weights: Weights | None = None,
    hints: Sequence[Hint] = (),
    samples: int | None = 20_000,
    steps: int = 1000,
    learning_rate: LearningRate = "find",
    batch_size: int = 256,
    validation: Validation = 0.1,
    validate_every: int | None = None,
    bins: int | None = None,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> History:
    """Trains a flow on rows in memory, as a job does on a data set, and keeps its best weights.

    A flow that is new takes its mean and scale, those of context vectors, and ActNorm's parameters
    from the data. A table's columns are remarked as an import does, by a warning.

    Args:
        flow: Is changed: it gets the average weights with the best validation.
        x: Rows, (N, *event_shape): floats in data units, or uint8, which are dequantised.
        context: What the flow is conditioned on: int64 classes (N,), or vectors (N, c).
        teacher: A flow to learn from as well, or one of another library, as `flowkd.adapt` returns
            it; default none.
        weights: Of the loss terms, with a teacher; default the best of docs/results/study.md.
        hints: Pairs of taps, with a teacher and a weight for them.
        samples: Teacher samples that are drawn before training; None draws fresh ones at each step.
        steps: Number of optimiser steps.
        learning_rate: Peak of the rate, which rises for `warmup_steps` and falls by half a cosine;
            `find` chooses it by short trainings, which take up to half of the time again.
        batch_size: Rows of a batch.
        validation: Share of the rows that choose the best weights, or such rows themselves, with
            their context in a tuple.
        validate_every: Steps between validations; default a tenth of all.
        bins: Number of integer values of uint8 rows; default 256.
        seed: Of the order of rows, noise and samples.
        progress: Whether a terminal shows a progress bar.
        options: Further fields of `flowkd.training.train_config.TrainConfig`, such as `ema_decay`.

    Raises:
        ConfigError: A flow without a config, an option that there is not, hints without a weight.
        DataError: Rows that are not the flow's, or not finite.
        NonFiniteError: A loss that is NaN or infinite.

    Examples:
        >>> x = torch.randn(500, 2) @ torch.tensor([[1.0, 0.9], [0.0, 0.3]])
        >>> flow = flowkd.coupling(2, depth=2, width=8)
        >>> history = flowkd.fit(flow, x, steps=20, batch_size=50)
        >>> len(history.losses), history.validation[-1][0]
        (20, 20)
    """
    _check_flow(flow)
    rows = MemoryRows.of(flow, x, context, validation, bins, seed)
    transforms = config_of(flow).transforms
    standardize(flow, rows.statistics(transforms))
    remarks = _remark(rows, transforms, flow.columns)
    rows.describe(flow)
    objective = _objective(teacher, config_of(flow), weights, hints, samples)
    recipe = _recipe(steps, learning_rate, options)
    run = in_memory_run(flow, objective, recipe, batch_size, validate_every, seed, teacher=teacher)
    history = train_in_memory(run, rows.data(teacher), flow, progress)[1]
    history.remarks = remarks
    return history


def distill(
    teacher: Flow | Adapter,
    x: Values,
    context: Values | None = None,
    *,
    share: float = 0.25,
    student: FlowConfig | None = None,
    warm_start: str | None = None,
    weights: Weights | None = None,
    hints: Sequence[Hint] = (),
    samples: int | None = 20_000,
    steps: int = 1000,
    learning_rate: LearningRate = "find",
    batch_size: int = 256,
    validation: Validation = 0.1,
    validate_every: int | None = None,
    bins: int | None = None,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> Flow:
    """Makes a small flow of nearly the same likelihood as a large one, as `jobs.distill` does.

    Args:
        teacher: The large flow; only read. One of another library, as `flowkd.adapt` returns it,
            needs a student to be given.
        x: Rows, (N, *event_shape), as `fit` takes them.
        context: Classes (N,) or vectors (N, c) that the flow is conditioned on.
        share: The student has at most this share of the teacher's parameters. That of an
            autoregressive teacher is a coupling flow with splines, of one pass both ways.
        student: Config of the student, instead of a share.
        warm_start: `fold`, `inherit`, `slice`, `copy` or `none`; default fold, where the family
            has it and the rows are not less likely by it than by a random start.
        weights: As `fit` takes it, and so all that follows.

    Returns:
        The student, with the average weights of the best validation.

    Raises:
        ConfigError: A student that cannot be, or cannot begin from its teacher.
        DataError: Rows that are not the teacher's, or not finite.
        NonFiniteError: A loss that is NaN or infinite; a teacher without a finite sample.

    See also:
        `fit` with a teacher: it trains a flow that is there already, and returns the history.

    Examples:
        >>> x = torch.randn(500, 4).cumsum(1)
        >>> teacher = flowkd.coupling(4, depth=4, width=16)
        >>> history = flowkd.fit(teacher, x, steps=20)
        >>> student = flowkd.distill(teacher, x, share=0.5, steps=20, samples=100)
        >>> student.log_prob(x).shape
        torch.Size([500])
    """
    config = None if isinstance(teacher, Adapter) else _check_flow(teacher)
    known, columns = (teacher.bins, teacher.columns) if isinstance(teacher, Flow) else (None, None)
    rows = MemoryRows.of(teacher, x, context, validation, bins or known, seed)
    _remark(rows, None if config is None else config.transforms, columns)
    try:
        small = student or _smaller(config, share)
        open_ = [key for key in unit_keys(small) if getattr(small, key) is None]
        if open_:
            units = rows.statistics(small.transforms)
            small = small.model_copy(update={key: units[key] for key in open_})
        folds = config is not None and small.kind == config.kind and "fold" in small.warm_starts
        start = warm_start or ("fold" if folds else "none")
        if start != "none":
            if config is None:
                raise ValueError(f"expected warm_start: none with a teacher as it is; got {start}")
            check_warm_start(cast(WarmStart, start), small, config, len(rows.train))
    except ValueError as error:
        raise ConfigError(f"distill: {error}") from error
    objective = _objective(teacher, small, weights, hints, samples, start)
    recipe = _recipe(steps, learning_rate, options)
    run = in_memory_run(small, objective, recipe, batch_size, validate_every, seed, teacher=teacher)
    run = run.model_copy(update={"start_by_default": warm_start is None and start != "none"})
    made = train_in_memory(run, rows.data(teacher, source=start != "none"), None, progress)[0]
    rows.describe(made)
    made.columns = columns
    return made


def _smaller(config: FlowConfig | None, share: float) -> FlowConfig:
    if config is None:
        raise ValueError("expected a student for a teacher of another library; got none: name it")
    return smaller(config, share)


def _remark(
    rows: MemoryRows, transforms: ColumnTransforms | None, names: Sequence[str] | None
) -> list[str]:
    remarks = rows.remarks(transforms, names)
    if remarks:
        warnings.warn(
            "\n- ".join(["what a density says of x means little:", *remarks]), stacklevel=3
        )
    return remarks


def _check_flow(flow: Flow) -> FlowConfig:
    try:
        return config_of(flow)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _objective(
    teacher: Flow | Adapter | None,
    student: FlowConfig,
    weights: Weights | None,
    hints: Sequence[Hint],
    samples: int | None,
    warm_start: str = "none",
) -> ObjectiveConfig:
    if teacher is None:
        if weights is not None or hints:
            raise ConfigError("expected a teacher for weights and hints; got none")
        return MaximumLikelihoodConfig()
    try:
        return DistillationConfig(
            teacher=IN_MEMORY,
            hints=tuple(hints),
            weights=default_weights(student)
            if weights is None
            else LossWeights.model_validate(weights),
            samples=SamplesConfig(rows=samples),
            warm_start=cast(Literal["none"] | WarmStart, warm_start),
        )
    except ValidationError as error:
        raise ConfigError(f"objective: {reason(error)}") from error


def _recipe(steps: int, learning_rate: LearningRate, options: Mapping[str, Any]) -> TrainConfig:
    try:
        return TrainConfig(steps=steps, learning_rate=learning_rate, **options)
    except ValidationError as error:
        raise ConfigError(f"training options: {reason(error)}") from error
