"""What cannot begin from what: refused before any work."""

from __future__ import annotations

from typing import Literal, get_args

from flowkd.distillation.warmstart.converted import check_converted
from flowkd.flows.family import FlowConfig, StepsConfig

WarmStart = Literal["fold", "inherit", "slice", "copy"]

Size = Literal["depth", "width", "inner"]
DECODING = ("decoding", "tolerance", "groups")
WIDTHS: tuple[Size, ...] = ("width", "inner")


def check_warm_start(
    kind: WarmStart,
    student_config: FlowConfig,
    source_config: FlowConfig,
    rows: int | None = None,
) -> None:
    """Raises ValueError unless a student can begin from a source in this way.

    Args:
        kind: `fold`, `inherit`, `slice` or `copy`.
        student_config: The student's, complete.
        source_config: The source's, complete.
        rows: Number of different rows of calibration data; None where it is not known yet.
    """
    if kind not in get_args(WarmStart):
        raise ValueError(f"expected a warm start of {', '.join(get_args(WarmStart))}; got {kind!r}")
    if "converted" in (student_config.kind, source_config.kind):
        check_converted(kind, student_config, source_config, rows)
        return
    _check_same_family(student_config, source_config)
    if kind not in student_config.warm_starts:
        raise ValueError(
            f"expected a warm start that flows of kind {student_config.kind} have: "
            f"{', '.join(('none', *student_config.warm_starts))}; got {kind}"
        )
    student, source = as_steps(student_config), as_steps(source_config)
    _check_smaller(student, source)
    if kind == "copy":
        _check_as_wide(student, source)
    student.check_warm_start(kind, source)
    if kind == "fold" and rows is not None:
        _check_rows(student, source, rows)


def as_steps(config: FlowConfig) -> StepsConfig:
    """Returns the config of a family of steps, which is what can be made smaller here."""
    assert isinstance(config, StepsConfig)
    return config


def _check_same_family(student: FlowConfig, source: FlowConfig) -> None:
    if student.kind != source.kind:
        if "autoregressive" in (student.kind, source.kind):
            raise ValueError(
                f"no closed form leads from a flow of kind {source.kind} to one of kind "
                f"{student.kind}, whose columns depend on each other in another way: warm_start: "
                f"none begins at random, and learns from the source's samples"
            )
        raise ValueError(
            f"expected a student of its source's kind, {source.kind}; got {student.kind}: "
            f"choose a source of the student's kind"
        )
    ours, theirs = student.context_spec, source.context_spec
    if ours != theirs:
        raise ValueError(
            f"expected a student of its source's context, {theirs}; got {ours}: "
            f"{ours.remedy(theirs)}"
        )
    # How samples are decoded is no part of the density.
    exclude = {*get_args(Size), *DECODING, "context", "classes", "context_size"}
    given = student.model_dump(exclude=exclude)
    for key, value in source.model_dump(exclude=exclude).items():
        if given[key] != value:
            raise ValueError(
                f"expected a student of its source's {key}, {value}; got {given[key]}: "
                f"only depth, width and inner may be smaller"
            )


def fewer(
    student: StepsConfig,
    source: StepsConfig,
    key: Size,
) -> bool:
    """Tells whether a student has fewer steps, or hidden units, than its source in any level."""
    return any(ours < theirs for ours, theirs in _levels(student, source, key))


def narrower(student: StepsConfig, source: StepsConfig) -> bool:
    """Tells whether a student has fewer hidden units in a layer than its source in any level."""
    return any(fewer(student, source, key) for key in WIDTHS)


def _levels(student: StepsConfig, source: StepsConfig, key: Size) -> list[tuple[int, int]]:
    pairs = zip(student.level_sizes, source.level_sizes, strict=True)
    return [(getattr(ours, key), getattr(theirs, key)) for ours, theirs in pairs]


def _check_smaller(student: StepsConfig, source: StepsConfig) -> None:
    for key in get_args(Size):
        if any(ours > theirs for ours, theirs in _levels(student, source, key)):
            raise ValueError(
                f"expected a student of at most its source's {key}, {_said(source, key)}; got "
                f"{_said(student, key)}: lower the student's {key}, or choose a larger source"
            )


def _check_as_wide(student: StepsConfig, source: StepsConfig) -> None:
    for key in WIDTHS:
        if fewer(student, source, key):
            raise ValueError(
                f"expected a student of its source's {key}, {_said(source, key)}, for copy; got "
                f"{_said(student, key)}: use fold, or slice as a control"
            )


def _said(config: StepsConfig, key: Size) -> object:
    """Returns a size as its config gives it: one number, or one for each level."""
    return getattr(config, key, None) or config.width


def _check_rows(student: StepsConfig, source: StepsConfig, rows: int) -> None:
    """Wants enough values, one a place and row, for the least squares that fold each level.

    Those to width choose among all of the source's hidden units: as many values as units. Those to
    depth fit each channel on all channels and a constant: twice as many values as unknowns, for a
    fit through every value is far off elsewhere.
    """
    needs = []
    for level, (channels, places) in enumerate(student.level_inputs):
        size = source.level_sizes[level]
        wanted: dict[Size, int] = {
            "width": size.width,
            "inner": size.inner,
            "depth": 2 * (channels + 1),
        }
        for key, values in wanted.items():
            ours, theirs = _levels(student, source, key)[level]
            if ours < theirs:
                what = f"{key} to {ours} with {places} places a row in level {level}"
                needs.append((-(-values // places), what))
    wanted_rows, what = max(needs, default=(0, ""))
    if rows < wanted_rows:
        raise ValueError(
            f"expected calibration data of at least {wanted_rows} different rows, to fold {what}; "
            f"got {rows}: give more rows, or begin with inherit instead of fold"
        )
