"""What is accepted and what is refused, by what it costs."""

import pytest

from cluster.serve.config import ServingLimits
from cluster.serve.waiting import Rates, Waiting

LIMITS = ServingLimits(max_ongoing_requests=3, max_wait_s=2)


def refused(waiting, cost=0.0, timeout_s=60.0, **how):
    fault = waiting.refusal(cost, LIMITS, timeout_s, **how)
    if fault is not None:
        assert fault.status == 503
        assert 1 <= int(fault.headers["Retry-After"]) <= 60
    return fault.code if fault else None


def test_requests_wait_by_their_cost_and_not_by_their_number():
    waiting = Waiting()
    with waiting.enter(0.5), waiting.enter(1.0):
        assert refused(waiting) is None
    with waiting.enter(2.5):
        assert refused(waiting) == "overloaded"
    assert refused(waiting) is None


def test_requests_that_cost_nothing_wait_by_their_number():
    waiting = Waiting()
    with waiting.enter(), waiting.enter(), waiting.enter():
        assert refused(waiting) == "overloaded"


def test_what_cannot_be_answered_in_time_is_refused():
    waiting = Waiting()
    with waiting.enter(1.5):
        assert refused(waiting, cost=1.0, timeout_s=2) == "too_late"
        assert refused(waiting, cost=1.0, timeout_s=3) is None


def test_one_that_waits_for_nobody_is_accepted_whatever_was_measured():
    waiting = Waiting()
    assert refused(waiting, cost=1e6, timeout_s=1) is None
    with waiting.enter(1e6) as own:
        assert refused(waiting, cost=1e6, timeout_s=1, own=own) is None
        assert refused(waiting, timeout_s=1) == "overloaded"


def test_several_replicas_share_what_waits():
    waiting = Waiting(replicas=2)
    with waiting.enter(2.5):
        assert refused(waiting) is None
        with waiting.enter(2.0):
            assert refused(waiting) == "overloaded"


def test_a_place_is_given_back_once():
    waiting = Waiting()
    with waiting.enter(1.0), waiting.enter(1.0) as place:
        place.add(3.0)
        assert (waiting.count, waiting.seconds) == (2, 5.0)
        place.give_back()
        place.give_back()
        assert (waiting.count, waiting.seconds) == (1, 1.0)
    assert (waiting.count, waiting.seconds) == (0, 0.0)


def test_the_cost_of_a_row_follows_what_is_measured():
    rates = Rates()
    rates.measured("a", "sample", rows=10, seconds=10.0)
    assert rates.cost("a", "sample", 2) == pytest.approx(2.0)
    assert rates.cost("a", "log_prob", 2) == rates.cost("b", "sample", 2) == 0
    for _ in range(50):
        rates.measured("a", "sample", rows=10, seconds=1.0)
    assert rates.cost("a", "sample", 2) == pytest.approx(0.2, rel=0.01)
