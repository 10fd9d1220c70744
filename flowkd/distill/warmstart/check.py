"""What cannot begin from what: refused before any work."""

from __future__ import annotations

import math
from typing import Literal, get_args

from flowkd.distill.warmstart.layout import group_bounds
from flowkd.flows.configs import CouplingConfig, GlowConfig

WarmStart = Literal["fold", "inherit", "slice", "copy"]

Size = Literal["depth", "width", "inner"]
WIDTHS: tuple[Size, ...] = ("width", "inner")


def check_warm_start(
    kind: WarmStart,
    student_config: GlowConfig | CouplingConfig,
    source_config: GlowConfig | CouplingConfig,
    rows: int | None = None,
) -> None:
    """Raises ValueError unless a student can begin from a source in this way.

    Args:
        kind: Of the warm start.
        student_config: The student's, complete.
        source_config: The source's, complete.
        rows: Number of different rows of calibration data; None where it is not known yet.
    """
    if kind not in get_args(WarmStart):
        raise ValueError(f"expected a warm start of {', '.join(get_args(WarmStart))}; got {kind!r}")
    _check_same_family(student_config, source_config)
    _check_smaller(student_config, source_config)
    if kind == "copy":
        _check_as_wide(student_config, source_config)
    if isinstance(student_config, CouplingConfig) and student_config.mix == "reverse":
        ((depth, source_depth),) = _levels(student_config, source_config, "depth")
        _check_reversals(kind, depth, source_depth)
    if kind == "fold" and rows is not None:
        _check_rows(student_config, source_config, rows)


def _check_same_family(
    student: GlowConfig | CouplingConfig, source: GlowConfig | CouplingConfig
) -> None:
    if student.kind != source.kind:
        raise ValueError(
            f"expected a student of its source's kind, {source.kind}; got {student.kind}: "
            f"choose a source of the student's kind"
        )
    if student.context != source.context:
        raise ValueError(
            f"expected a student of its source's context, {source.context}; got {student.context}: "
            f"give both the same classes and context_size"
        )
    exclude = {*get_args(Size), "classes", "context_size"}
    ours, theirs = student.model_dump(exclude=exclude), source.model_dump(exclude=exclude)
    for key, value in theirs.items():
        if ours[key] != value:
            raise ValueError(
                f"expected a student of its source's {key}, {value}; got {ours[key]}: "
                f"only depth, width and inner may be smaller"
            )


def fewer(
    student: GlowConfig | CouplingConfig,
    source: GlowConfig | CouplingConfig,
    key: Size,
) -> bool:
    """Tells whether a student has fewer steps, or hidden units, than its source in any level."""
    return any(ours < theirs for ours, theirs in _levels(student, source, key))


def narrower(student: GlowConfig | CouplingConfig, source: GlowConfig | CouplingConfig) -> bool:
    """Tells whether a student has fewer hidden units in a layer than its source in any level."""
    return any(fewer(student, source, key) for key in WIDTHS)


def _levels(
    student: GlowConfig | CouplingConfig, source: GlowConfig | CouplingConfig, key: Size
) -> list[tuple[int, int]]:
    pairs = zip(student.level_sizes, source.level_sizes, strict=True)
    return [(getattr(ours, key), getattr(theirs, key)) for ours, theirs in pairs]


def _check_smaller(
    student: GlowConfig | CouplingConfig, source: GlowConfig | CouplingConfig
) -> None:
    for key in get_args(Size):
        if any(ours > theirs for ours, theirs in _levels(student, source, key)):
            raise ValueError(
                f"expected a student of at most its source's {key}, {_said(source, key)}; got "
                f"{_said(student, key)}: lower the student's {key}, or choose a larger source"
            )


def _check_as_wide(
    student: GlowConfig | CouplingConfig, source: GlowConfig | CouplingConfig
) -> None:
    for key in WIDTHS:
        if fewer(student, source, key):
            raise ValueError(
                f"expected a student of its source's {key}, {_said(source, key)}, for copy; got "
                f"{_said(student, key)}: use fold, or slice as a control"
            )


def _said(config: GlowConfig | CouplingConfig, key: Size) -> object:
    """Returns a size as its config gives it: one number, or one for each level."""
    return getattr(config, key) or config.width


def _check_reversals(kind: WarmStart, depth: int, source_depth: int) -> None:
    if kind == "fold" and depth < source_depth:
        raise ValueError(
            f"expected mix: linear, into which steps fold; got mix: reverse and depth {depth} for "
            f"{source_depth}: give the student the same depth, or train a source with mix: linear"
        )
    sizes = [stop - start for start, stop in group_bounds(depth, source_depth)]
    if kind == "inherit" and any(size % 2 == 0 for size in sizes):
        raise ValueError(
            f"expected mix: linear, or an odd number of the source's steps for each of the "
            f"student's, for an even number of reversals is none; got mix: reverse and depth "
            f"{depth} for {source_depth}, grouped as {sizes}: choose another depth"
        )


def _check_rows(
    student: GlowConfig | CouplingConfig, source: GlowConfig | CouplingConfig, rows: int
) -> None:
    """Wants enough values, one a place and row, for the least squares that fold each level.

    Those to width choose among all of the source's hidden units: as many values as units. Those to
    depth fit each channel on all channels and a constant: twice as many values as unknowns, for a
    fit through every value is far off elsewhere.
    """
    needs = []
    for level, (channels, places) in enumerate(_seen_by_levels(student)):
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


def _seen_by_levels(config: GlowConfig | CouplingConfig) -> list[tuple[int, int]]:
    """Returns how many channels each level sees, and at how many places."""
    assert config.event_shape is not None
    if isinstance(config, CouplingConfig):
        return [(math.prod(config.event_shape), 1)]
    channels, height, width = config.event_shape
    return [
        (channels * 2 ** (level + 2), height * width // 4 ** (level + 1))
        for level in range(config.levels)
    ]
