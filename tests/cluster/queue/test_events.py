"""A job's state follows from its events alone."""

from __future__ import annotations

import pytest

from cluster.queue.events import Event, JobState, state_after


def story(*moves: dict[str, object]) -> JobState:
    events = [
        Event.model_validate({"number": number, "time": 100.0 + number, **move})
        for number, move in enumerate(moves, start=1)
    ]
    states = [state_after(events[:count]) for count in range(len(events) + 1)]
    for before, event, after in zip(states, events, states[1:], strict=False):
        assert before.after(event) == after
    return states[-1]


QUEUED = {"state": "queued", "order": 4}
STARTING = {"state": "starting", "attempt": 1}
RUNNING = {"state": "running", "attempt": 1}
FAILED = {"state": "queued", "attempt": 1, "exit_code": 1, "backoff": 5.0}
LOST = {"state": "queued", "attempt": 1, "lost": True}


def test_nothing_has_happened_yet() -> None:
    assert story() == JobState()


@pytest.mark.parametrize(
    ("moves", "failures", "losses"),
    [
        ((FAILED,), 1, 0),
        ((LOST,), 0, 1),
        ((LOST, STARTING, LOST), 0, 2),
        ((FAILED, STARTING, LOST), 1, 1),
        ((LOST, STARTING, FAILED), 1, 0),
        ((FAILED, STARTING, FAILED), 2, 0),
    ],
)
def test_only_the_jobs_own_failures_count_against_it(
    moves: tuple[dict[str, object], ...], failures: int, losses: int
) -> None:
    state = story(QUEUED, STARTING, RUNNING, *moves)
    assert (state.failures, state.losses) == (failures, losses)
    assert state.order == 4


def test_who_asks_for_another_try_begins_anew_with_the_next_attempt_and_a_new_place() -> None:
    ended = (QUEUED, STARTING, RUNNING, FAILED, STARTING, {"state": "failed", "attempt": 2})
    state = story(*ended, {"state": "queued", "attempt": 2, "order": 9})
    assert (state.failures, state.losses, state.attempt, state.order) == (0, 0, 2, 9)
    assert (state.started_at, state.ended_at, state.backoff) == (0, 0, 0)


def test_times_are_those_of_the_last_attempt() -> None:
    state = story(QUEUED, STARTING, RUNNING, FAILED)
    assert (state.queued_at, state.started_at, state.backoff) == (104, 0, 5)
    state = story(QUEUED, STARTING, RUNNING, {"state": "succeeded", "attempt": 1})
    assert (state.queued_at, state.started_at, state.ended_at) == (101, 103, 104)
