"""The runs of a study, as its configuration and the choices made so far determine them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowkd.errors import ConfigError
from flowkd.training.config import TrainingConfig
from jobs.studies.config import PLAIN, TEACHER, ArmConfig, Recipe, StudyConfig


class MeasuredFlow(NamedTuple):
    """A row of the results: an arm and its seeds, None where it does not depend on one."""

    arm: str
    teacher_seed: int | None
    student_seed: int | None


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study.

    Attributes:
        row: The row of the results that it belongs to.
        config: Config of the run.
        needs: Names of the runs that must be finished before.
        reported: Whether the row shows its figures; not so for an intermediate flow, or a learning
            rate that was not chosen.
    """

    row: MeasuredFlow
    config: TrainingConfig
    needs: tuple[str, ...] = ()
    reported: bool = True


@dataclass(frozen=True)
class Choices:
    """What is decided by results, not by the configuration.

    Attributes:
        learning_rate: Learning rate of all students; None if it is not chosen yet.
        steps: Steps by name of each arm that is matched to another's CPU seconds, as far as known.
    """

    learning_rate: float | None = None
    steps: Mapping[str, int] = field(default_factory=dict)


def rows(config: StudyConfig) -> list[MeasuredFlow]:
    """Returns all rows of the finished study, teachers first."""
    found = [MeasuredFlow(TEACHER, seed, None) for seed in config.teacher_seeds]
    for name, arm in config.arms.items():
        found += [MeasuredFlow(name, *pair) for pair in _pairs(config, arm)]
    return found


def plan(config: StudyConfig, choices: Choices | None = None) -> list[PlannedRun]:
    """Returns the runs that are known by now, in an order in which they can run.

    Teachers, and the plain student with each learning rate, are always known; the arms' runs are
    once the learning rate is chosen.

    Raises:
        ConfigError: Two runs of the same name.
    """
    choices = choices or Choices()
    planned = [*_teachers(config), *_candidates(config, choices)]
    if choices.learning_rate is not None:
        for name, arm in config.arms.items():
            planned += _arm(config, choices, name, arm)
    check_names(planned)
    return planned


def check_names(planned: list[PlannedRun]) -> None:
    """Raises ConfigError if different runs, of one study or of several, have the same name."""
    known: dict[str, TrainingConfig] = {}
    for run in planned:
        name = run.config.name
        if known.setdefault(name, run.config) != run.config:
            raise ConfigError(f"two runs are named {name!r}: rename a study or an arm")


def _teachers(config: StudyConfig) -> Iterator[PlannedRun]:
    for seed in config.teacher_seeds:
        run = _run(config, _teacher(config, seed), config.teacher, seed)
        yield PlannedRun(MeasuredFlow(TEACHER, seed, None), run)


def _candidates(config: StudyConfig, choices: Choices) -> Iterator[PlannedRun]:
    seed = config.student_seeds[0]
    for rate in config.learning_rates:
        name = f"study-{config.name}-{PLAIN}-lr{_short(rate)}-s{seed}"
        run = _run(config, name, config.student, seed, rate=rate)
        yield PlannedRun(
            MeasuredFlow(PLAIN, None, seed), run, reported=rate == choices.learning_rate
        )


def _arm(config: StudyConfig, choices: Choices, name: str, arm: ArmConfig) -> Iterator[PlannedRun]:
    if arm.cpu_matched_to and name not in choices.steps:
        return
    total = choices.steps.get(name, max(1, round(config.student.train.steps * arm.steps_factor)))
    for teacher, student in _pairs(config, arm):
        if name == PLAIN and student == config.student_seeds[0]:
            continue  # the chosen candidate
        common: dict[str, Any] = {"rate": choices.learning_rate}
        row = MeasuredFlow(name, teacher, student)
        label = f"study-{config.name}-{name}" + (f"-t{teacher}" if teacher is not None else "")
        recipe, steps, needs = config.student, total, []
        if arm.flow:
            recipe = recipe.model_copy(update={"flow": arm.flow})
        if arm.objective is not None:
            assert teacher is not None
            needs.append(_teacher(config, teacher))
            objective = arm.objective.model_copy(update={"teacher": f"runs/{needs[0]}"})
            common["objective"] = objective
            if arm.intermediate:
                first = f"{label}-intermediate-s{student}"
                half = recipe.model_copy(update={"flow": arm.intermediate})
                steps = max(1, total - total // 2)
                run = _run(config, first, half, student, steps=max(1, total // 2), **common)
                yield PlannedRun(row, run, tuple(needs), reported=False)
                needs.append(first)
                common["objective"] = type(objective).model_validate(
                    {**objective.model_dump(), "warm_from": f"runs/{first}"}
                )
        run = _run(config, f"{label}-s{student}", recipe, student, steps=steps, **common)
        yield PlannedRun(row, run, tuple(needs))


def _run(
    config: StudyConfig,
    name: str,
    recipe: Recipe,
    seed: int,
    *,
    rate: float | None = None,
    steps: int | None = None,
    **more: Any,
) -> TrainingConfig:
    changes = {"learning_rate": rate, "steps": steps}
    changes = {key: value for key, value in changes.items() if value is not None}
    return TrainingConfig(
        name=name,
        dataset=config.dataset.name,
        flow=recipe.flow,
        train=recipe.train.model_copy(update=changes),
        batch_size=recipe.batch_size,
        train_rows=config.train_rows,
        validation_rows=config.validation_rows,
        validate_every=recipe.validate_every,
        seed=seed,
        **more,
    )


def _teacher(config: StudyConfig, seed: int) -> str:
    return f"study-{config.teachers_of or config.name}-{TEACHER}-t{seed}"


def _pairs(config: StudyConfig, arm: ArmConfig) -> list[tuple[int | None, int]]:
    if arm.objective is None:
        return [(None, seed) for seed in config.student_seeds]
    if arm.seed_pairs:
        return list(arm.seed_pairs)
    return [(teacher, seed) for teacher in config.teacher_seeds for seed in config.student_seeds]


def _short(rate: float) -> str:
    return f"{rate:g}".replace("+", "")  # which a run's name cannot hold
