"""What follows from an outcome, a loss, a silence, a wait and a request, as pure functions say."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from cluster.queue.config import QueueConfig
from cluster.queue.events import ACTIVE, ENDED, STOPPING, JobState, JobStatus, Transition
from cluster.queue.job import Job
from cluster.queue.messages import AttemptOutcome, Heartbeat, Request
from cluster.queue.rules import (
    MAX_LOSS_BACKOFF,
    MAX_LOSSES,
    TIMED_OUT,
    after_loss,
    after_outcome,
    after_request,
    after_waiting,
    is_overdue,
    is_postponed,
    may_start,
    startable_since,
    stop_reason,
)
from cluster.queue.spec import JobSpec, Retries, Timeouts

START = 1000.0
RUNNING = JobState(events=3, state="running", attempt=1, order=1)
CANCELLING = replace(RUNNING, state="cancelling", reason="cancelled by me")
PREEMPTING = replace(RUNNING, state="preempting", reason="made room for other")
RETRIES = Retries(max_retries=2, backoff=10)
ALL: tuple[JobStatus | None, ...] = (None, "queued", *ACTIVE, *ENDED)


def outcome(code: int, reason: str = "", lost: bool = False) -> AttemptOutcome:
    return AttemptOutcome(exit_code=code, reason=reason, lost=lost, time=0)


def job(name: str = "job", state: JobState | None = None, **changes: object) -> Job:
    """Returns a job of which the dispatcher learnt at START."""
    spec = {"id": name, "kind": "c", **changes}
    waits = JobState(events=1, state="queued", order=1, queued_at=START)
    return Job(JobSpec.model_validate(spec), START, state or waits, START)


def play(state: JobState, *transitions: Transition) -> JobState:
    """Returns the state after transitions, each on another attempt that ran."""
    for transition in transitions:
        if state.state in ACTIVE:
            state = state.after(state.next_event(transition, START))
        else:
            start = Transition("starting", attempt=state.attempt + 1)
            for each in (start, Transition("running"), transition):
                state = state.after(state.next_event(each, START))
    return state


@pytest.mark.parametrize(
    ("state", "ended", "expected"),
    [
        (RUNNING, outcome(0), "succeeded"),
        (RUNNING, outcome(1), "queued"),
        (RUNNING, outcome(0, "stopped", lost=True), "queued"),  # it left well, but not by itself
        (RUNNING, outcome(TIMED_OUT, "ran for longer than 1 s"), "queued"),
        (CANCELLING, outcome(0), "succeeded"),  # it was quicker
        (CANCELLING, outcome(143, "stopped", lost=True), "cancelled"),
        (CANCELLING, outcome(1), "cancelled"),
        (PREEMPTING, outcome(0), "succeeded"),
        (PREEMPTING, outcome(75), "queued"),
        (PREEMPTING, outcome(143, "stopped", lost=True), "queued"),
    ],
)
def test_an_outcome_ends_the_job_or_another_attempt_follows(
    state: JobState, ended: AttemptOutcome, expected: str
) -> None:
    found = after_outcome(RETRIES, state, ended)
    assert found.state == expected
    stopped = state.state in STOPPING and expected != "succeeded"
    assert found.reason == (state.reason if stopped else found.reason)
    assert found.lost == (expected == "queued" and ended.lost and not stopped)
    assert found.exit_code == (None if found.lost else ended.exit_code)


@pytest.mark.parametrize(
    ("code", "failures", "expected"),
    [
        (1, 0, "queued"),
        (1, 1, "queued"),
        (1, 2, "failed"),  # max_retries
        (2, 0, "failed"),  # never_retry_exit_codes
        (75, 0, "queued"),
        (75, 2, "queued"),  # always_retry_exit_codes
        (75, 500, "queued"),
    ],
)
def test_failures_are_retried_as_often_as_the_exit_code_allows(
    code: int, failures: int, expected: str
) -> None:
    state = replace(RUNNING, failures=failures)
    assert after_outcome(RETRIES, state, outcome(code)).state == expected


def test_the_backoff_after_failures_doubles_up_to_a_bound() -> None:
    retries = Retries(max_retries=1000, backoff=10)
    found = [
        after_outcome(retries, replace(RUNNING, failures=n), outcome(1)).backoff
        for n in (0, 1, 2, 3, 9, 10, 11, 900)
    ]
    assert found == [10, 20, 40, 80, 5120, 10240, 10240, 10240]


def test_failures_count_since_the_last_retry_that_a_user_asked_for() -> None:
    once = Retries(max_retries=1)
    state = RUNNING
    for expected in ("queued", "failed"):
        state = play(state, after_outcome(once, state, outcome(1)))
        assert state.state == expected
    asked = after_request(request("retry"), state, next_order=7)
    assert asked is not None
    state = state.after(state.next_event(asked, START))
    assert (state.failures, state.order, state.attempt) == (0, 7, 2)
    for expected in ("queued", "failed"):
        state = play(state, after_outcome(once, state, outcome(1)))
        assert state.state == expected


def test_losses_count_in_a_row_and_never_as_failures() -> None:
    state, backoffs = RUNNING, []
    for _ in range(MAX_LOSSES - 1):
        lost = after_loss(state)
        assert (lost.state, lost.lost) == ("queued", True)
        backoffs.append(lost.backoff)
        state = play(state, lost)
    assert backoffs[:7] == [1, 2, 4, 8, 16, 32, MAX_LOSS_BACKOFF]
    assert set(backoffs[6:]) == {MAX_LOSS_BACKOFF}
    assert (state.failures, state.losses) == (0, MAX_LOSSES - 1)
    assert after_loss(state).state == "failed"
    assert f"the last of {MAX_LOSSES} that came no further" in after_loss(state).reason

    state = play(state, after_outcome(RETRIES, state, outcome(1)))  # not in a row any more
    assert (state.failures, state.losses) == (1, 0)
    assert after_loss(state).backoff == 1


def test_an_attempt_that_is_lost_while_its_job_is_cancelled_is_the_last() -> None:
    assert after_loss(CANCELLING) == Transition("cancelled", reason="cancelled by me", lost=True)


@pytest.mark.parametrize(("begun", "limit"), [(False, 50.0), (True, 26.0)])
def test_an_attempt_is_overdue_once_it_was_silent_for_too_long(begun: bool, limit: float) -> None:
    config = QueueConfig(heartbeat_timeout=20, grace_period=5, loss_margin=1, start_timeout=50)
    found = job(state=RUNNING)
    found.begun = begun
    assert not is_overdue(found, config, START + limit)
    assert is_overdue(found, config, START + limit + 0.1)
    found.hear(Heartbeat(beats=1, time=0), START + 10)
    assert not is_overdue(found, config, START + 10 + config.loss_timeout)
    found.hear(Heartbeat(beats=1, time=0), START + 20)  # the same one again is no sign of life
    assert is_overdue(found, config, START + 10.1 + config.loss_timeout)


def others(**states: JobStatus | None) -> dict[str, Job]:
    """Returns jobs in these states, which the dispatcher learnt of 5 s after START."""
    found = {}
    for name, state in states.items():
        found[name] = job(name, JobState(state=state, ended_at=START + 5))
        found[name].since = START + 5
    return found


@pytest.mark.parametrize(("first", "second"), product(ALL, ALL))
def test_a_job_waits_for_its_dependencies_and_fails_with_them(
    first: JobStatus | None, second: JobStatus | None
) -> None:
    waits = job(depends_on=["a", "b"])
    known, now = others(a=first, b=second), START + 100
    both = first == second == "succeeded"
    assert may_start(waits, known, now) == both
    bad = [name for name, each in known.items() if each.state.state in ("failed", "cancelled")]
    found = after_waiting(waits, known, now)
    assert (found is not None) == bool(bad)
    if found is not None:
        assert found.state == "failed"
        assert f"job {bad[0]}, on which it depends" in found.reason


def test_a_job_that_made_room_has_not_failed_and_may_start_at_once() -> None:
    state = replace(RUNNING, failures=1, losses=2, progress="5 of 9")
    for lost in (False, True):
        asked = state.after(state.next_event(Transition("preempting", reason="r"), START))
        found = after_loss(asked) if lost else after_outcome(RETRIES, asked, outcome(75))
        again = asked.after(asked.next_event(found, START))
        assert (again.state, again.backoff, again.reason) == ("queued", 0, "r")
        assert (again.failures, again.losses) == (1, 2)


def test_losses_of_a_job_that_comes_further_each_time_are_no_end_of_it() -> None:
    state = RUNNING
    for number in range(3 * MAX_LOSSES):
        state = play(state, after_loss(state, progress=f"{number} of 99"))
        assert (state.state, state.losses, state.backoff) == ("queued", 1, 1)
    state = play(state, after_loss(state, progress=state.progress))
    assert state.losses == 2
    assert play(state, after_loss(state)).losses == 3  # it never said how far it is


def test_a_job_that_is_cancelled_before_its_command_starts_ends_as_cancelled() -> None:
    ended = AttemptOutcome(exit_code=130, reason="cancelled before", cancelled=True, time=0)
    assert after_outcome(RETRIES, replace(RUNNING, state="starting"), ended).state == "cancelled"


def test_a_dependency_that_nobody_knows_yet_is_waited_for() -> None:
    waits = job(depends_on=["a", "b"], timeouts={"queued": 1})
    assert not may_start(waits, others(a="succeeded"), START + 100)
    assert after_waiting(waits, others(a="succeeded"), START + 100) is None


def test_a_job_starts_once_its_backoff_is_over_by_whichever_clock_is_behind() -> None:
    waits = job(state=JobState(state="queued", queued_at=START, backoff=10))
    assert not may_start(waits, {}, START + 9.9)
    assert may_start(waits, {}, START + 10)
    ahead = job(state=JobState(state="queued", queued_at=START + 300, backoff=10))
    assert may_start(ahead, {}, START + 10)


@pytest.mark.parametrize(
    ("waits", "since"),
    [
        (job(timeouts={"queued": 30}), START),
        (
            job(
                timeouts={"queued": 30},
                state=JobState(state="queued", queued_at=START, backoff=8),
            ),
            START + 8,
        ),
        (job(timeouts={"queued": 30}, depends_on=["a"]), START + 5),
    ],
)
def test_the_queued_timeout_counts_from_when_a_job_could_start(waits: Job, since: float) -> None:
    known = others(a="succeeded")
    assert startable_since(waits, known) == since
    assert after_waiting(waits, known, since + 30) is None
    found = after_waiting(waits, known, since + 30.1)
    assert found == Transition("failed", reason="waited for longer than 30 s")


def test_without_a_queued_timeout_a_job_waits_for_ever() -> None:
    assert after_waiting(job(), {}, START + 1e9) is None


def test_an_attempt_stops_when_its_time_is_over_or_nobody_hears_it() -> None:
    timeouts = Timeouts(running=100)
    assert stop_reason(timeouts, 60, ran=100, silent=60) is None
    late = stop_reason(timeouts, 60, ran=100.1, silent=0)
    assert late is not None
    assert (late.text, late.lost, late.exit_code) == ("ran for longer than 100 s", False, TIMED_OUT)
    silent = stop_reason(timeouts, 60, ran=80, silent=60.1)
    assert silent is not None
    assert (silent.lost, silent.exit_code) == (True, None)
    assert stop_reason(Timeouts(), 60, ran=1e9, silent=0) is None


def request(what: str, by: str = "") -> Request:
    return Request.model_validate({"job": "job", "what": what, "by": by, "time": 0, "nonce": "n"})


@pytest.mark.parametrize("state", ALL)
def test_a_cancel_ends_what_waits_and_stops_what_runs(state: JobStatus | None) -> None:
    expected = {None: "cancelled", "queued": "cancelled"}
    expected |= {"starting": "cancelling", "running": "cancelling"}
    expected |= {"preempting": "cancelling"}
    found = after_request(request("cancel", by="ann"), JobState(state=state), 7)
    assert (found and found.state) == expected.get(state)
    assert found is None or (found.reason, found.order) == ("cancelled by ann", None)
    assert not is_postponed(request("cancel"), JobState(state=state))


@pytest.mark.parametrize("state", ALL)
def test_a_retry_puts_what_has_ended_at_the_end_of_the_line(state: JobStatus | None) -> None:
    found = after_request(request("retry"), JobState(state=state), 7)
    assert (found is not None) == (state in ENDED)
    assert found is None or (found.state, found.order) == ("queued", 7)
    assert is_postponed(request("retry"), JobState(state=state)) == (state == "cancelling")
