"""The map of hints: a teacher's taps beside a student's, and a line for each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from flowkd.bijectors import Tap
from flowkd.distillation.hints import Hint
from flowkd.report.style import INK, MUTED, RULE, SERIES, WIDTH, svg_plot

# In CSS pixels.
TEACHER, STUDENT, BESIDE = 112, 228, 9  # the two columns, and how far off the names are
HEADING, TITLE, ROW, LEAST, TALLEST = 30, 14, 18, 4, 640
NAMED = 10  # where rows are lower, only taps of hints are named


class Place(NamedTuple):
    """Where a tap is drawn: how far down, and its name within its level."""

    y: float
    label: str


class Level(NamedTuple):
    """Where a level begins, and what it is called."""

    y: float
    title: str


class Layout(NamedTuple):
    """Where everything is drawn, the places by the name of the tap."""

    height: float
    row: float
    levels: list[Level]
    teacher: dict[str, Place]
    student: dict[str, Place]


def hint_map(
    name: str, teacher: Mapping[str, Tap], student: Mapping[str, Tap], hints: Sequence[Hint]
) -> str:
    """Returns the map of one student's hints.

    Args:
        name: Prefix of identifiers, unique within the page.
        teacher: Taps of the teacher that are shown, in its order.
        student: Taps of the student that are shown, in its order.
        hints: Pairs of them.
    """
    layout = lay_out(teacher, student)
    told = "; ".join(f"{hint.student} learns from {hint.teacher}" for hint in hints)
    return svg_plot(
        lambda axes: _draw(axes, layout, hints),
        name=name,
        description=f"Hints: {told or 'none'}",
        height=round(layout.height),
    )


def lay_out(teacher: Mapping[str, Tap], student: Mapping[str, Tap]) -> Layout:
    """Returns where the taps lie: levels below each other, both flows as high as each other."""
    names = dict.fromkeys(level_of(tap) for tap in (*teacher, *student))
    columns = {
        level: [[tap for tap in flow if level_of(tap) == level] for flow in (teacher, student)]
        for level in names
    }
    counts = {level: max(map(len, both)) for level, both in columns.items()}
    row = max(LEAST, min(ROW, TALLEST / max(1, sum(counts.values()))))
    y, levels = float(HEADING), []
    places: tuple[dict[str, Place], dict[str, Place]] = ({}, {})
    for level, both in columns.items():
        first = next(tap for taps in both for tap in taps)
        shape = (teacher.get(first) or student[first]).shape
        levels.append(Level(y, f"{level} ({' x '.join(map(str, shape))})".strip()))
        y += TITLE / 2
        for taps, found in zip(both, places, strict=True):
            for n, tap in enumerate(taps):
                at = y + (n + 0.5) * counts[level] / len(taps) * row
                found[tap] = Place(at, tap.removeprefix(f"{level}."))
        y += counts[level] * row + TITLE * 1.5
    return Layout(y, row, levels, *places)


def level_of(tap: str) -> str:
    """Returns the level of a tap; empty for a flow that has none."""
    return tap.rpartition(".")[0].split(".")[0]


def _draw(axes: Axes, layout: Layout, hints: Sequence[Hint]) -> None:
    hinted = ({hint.teacher for hint in hints}, {hint.student for hint in hints})
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(layout.height, 0)
    for level in layout.levels:
        axes.text(WIDTH / 2, level.y, level.title, ha="center", color=MUTED, fontsize=10)
    columns = (
        ("teacher", TEACHER, -BESIDE, "right", SERIES[0]),
        ("student", STUDENT, BESIDE, "left", SERIES[2]),
    )
    both = (layout.teacher, layout.student)
    for (title, x, off, side, color), places, named in zip(columns, both, hinted, strict=True):
        axes.text(x, 10, title, ha="center", color=color, fontsize=12)
        for tap, place in places.items():
            chosen = tap in named
            axes.plot(x, place.y, "o", color=color if chosen else RULE, markersize=4)
            if chosen or layout.row >= NAMED:
                axes.text(
                    x + off, place.y, place.label, ha=side, va="center", fontsize=10.5,
                    color=INK if chosen else MUTED,
                )  # fmt: skip
    for number, hint in enumerate(hints):
        axes.plot(
            (TEACHER, STUDENT),
            (layout.teacher[hint.teacher].y, layout.student[hint.student].y),
            color=SERIES[2],
            linewidth=1.4,
            gid=f"hint-{number}",
        )
