"""Pairs of taps for hints: any that keep the order of both flows, and no others."""

from __future__ import annotations

from itertools import combinations, pairwise

from flowkd.bijectors import Tap
from tuning.hint_pairs import HintPairs
from tuning.space import HintSpace
from tuning.suggest import Suggester, grid

TEACHER = {f"step{n}": Tap((4,), 4, 10 * (n + 1)) for n in range(4)}
STUDENT = {f"step{n}": Tap((4,), 4, 10 * (n + 1)) for n in range(3)}


def drawn(space: HintSpace) -> list[list[tuple[int, int]]]:
    """Returns the hints of every candidate of a grid, as pairs of steps."""
    pairs, found = HintPairs(space, STUDENT, TEACHER), []

    def draw(suggester: Suggester) -> None:
        hints = pairs.draw(suggester)
        found.append([(int(hint.student[4:]), int(hint.teacher[4:])) for hint in hints])

    grid(draw, 1000)
    return found


def test_pairs_never_cross_and_all_that_do_not_can_be_chosen() -> None:
    found = drawn(HintSpace())
    for hints in found:
        for (ours, theirs), (our_next, their_next) in pairwise(hints):
            assert ours < our_next
            assert theirs < their_next
    ordered = {
        tuple(zip(ours, theirs, strict=True))
        for count in range(len(STUDENT) + 1)
        for ours in combinations(range(len(STUDENT)), count)
        for theirs in combinations(range(len(TEACHER)), count)
    }
    assert {tuple(hints) for hints in found} == ordered


def test_there_are_no_more_hints_than_allowed() -> None:
    assert {len(hints) for hints in drawn(HintSpace(max_hints=2))} == {0, 1, 2}
