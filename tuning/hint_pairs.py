"""Pairs of a student's and a teacher's taps for hints, in the order of both flows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flowkd.bijectors import Tap
from flowkd.distillation.hints import Hint
from flowkd.errors import ConfigError
from tuning.space import HintSpace
from tuning.suggest import Suggester, suggest_one

STEP_END = re.compile(r"(^|\.)step\d+$")
OFF, ON = "off", "on"


class HintPairs:
    """The pairs that may be hints of one student.

    Args:
        space: Which taps may be paired.
        student: All taps of the student.
        teacher: All taps of the teacher.

    Attributes:
        fitting: For each tap of the student that may have a hint, the teacher's taps that it may be
            paired with; both in the order of their flows.
    """

    def __init__(
        self, space: HintSpace, student: Mapping[str, Tap], teacher: Mapping[str, Tap]
    ) -> None:
        self._space = space
        self._order = {tap: place for place, tap in enumerate(teacher)}
        theirs = hint_taps(space.teacher, teacher)
        self.fitting = {
            tap: found
            for tap in hint_taps(space.student, student)
            if student[tap].parameters
            and (found := [name for name in theirs if self._alike(student[tap], teacher[name])])
        }

    def _alike(self, ours: Tap, theirs: Tap) -> bool:
        same = self._space.channels == "all" or ours.channels == theirs.channels
        return ours.shape == theirs.shape and same

    def draw(self, suggester: Suggester) -> tuple[Hint, ...]:
        """Returns the hints that a suggester chooses; pairs never cross.

        The teacher's tap is chosen by its place among the fitting ones, from 0 to 1. Where an
        earlier hint is paired with a later tap already, the next one that is left is taken.
        """
        hints: list[Hint] = []
        normalize: bool | None = None
        last = -1
        for tap, fitting in self.fitting.items():
            left = [name for name in fitting if self._order[name] > last]
            if not left or len(hints) == self._space.max_hints:
                continue
            if suggester.categorical(f"hint.{tap}", (OFF, ON)) == OFF:
                continue
            if normalize is None:
                values = self._space.normalize
                normalize = suggest_one(suggester, "hints.normalize", values, values)
            paired = self._pair(suggester, tap, fitting, left)
            last = self._order[paired]
            channels = self._space.channels
            hints.append(Hint(student=tap, teacher=paired, channels=channels, normalize=normalize))
        return tuple(hints)

    def _pair(self, suggester: Suggester, tap: str, fitting: list[str], left: list[str]) -> str:
        if len(fitting) == 1:
            return fitting[0]
        middles = [(place + 0.5) / len(fitting) for place in range(len(fitting))]
        share = suggester.number(f"place.{tap}", 0.0, 1.0, middles[-len(left) :])
        wanted = fitting[min(int(share * len(fitting)), len(fitting) - 1)]
        return wanted if wanted in left else left[0]


def hint_taps(named: Sequence[str] | None, taps: Mapping[str, Tap]) -> list[str]:
    """Returns the named taps, or those at the ends of steps, in the order of the flow."""
    return [tap for tap in taps if (tap in named if named is not None else STEP_END.search(tap))]


def check_taps(
    space: HintSpace, students: Sequence[Mapping[str, Tap]], teacher: Mapping[str, Tap]
) -> None:
    """Raises ConfigError if a named tap does not exist, or if no pair is possible."""
    for role, named, flows in (
        ("student", space.student, students),
        ("teacher", space.teacher, [teacher]),
    ):
        known = dict.fromkeys(tap for taps in flows for tap in taps)
        for name in named or ():
            if name not in known:
                raise ConfigError(
                    f"space.hints.{role}: the {role} has no tap {name!r}; valid taps are "
                    f"{', '.join(known)}"
                )
    if not any(HintPairs(space, student, teacher).fitting for student in students):
        raise ConfigError(
            "space.hints: no tap of a student has the shape of one of the teacher's, with "
            "parameters before it: name others, or leave hints out"
        )
