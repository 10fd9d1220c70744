"""The line: priority, time waited, and who has used the least."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from cluster.queue.line import LinePolicy, Use, Waiting, in_line, share_of, used_by
from cluster.queue.spec import Resources

NODES = [{"CPU": 4.0}, {"CPU": 4.0, "GPU": 2.0}]
ONE = Resources(cpus=1)


def job(name: str, order: int, owner: str = "ann", priority: int = 0, since: float = 1) -> Waiting:
    return Waiting(name, owner, priority, order, ONE, since)


def names(line: list[Waiting]) -> list[str]:
    return [each.job for each in line]


def test_priority_goes_before_all_else_and_then_the_order_of_arrival() -> None:
    jobs = [
        job("a", 3),
        job("b", 1),
        job("c", 2),
        job("low", 0, priority=-1),
        job("high", 9, "bob", 1),
    ]
    assert names(in_line(jobs, [], NODES, 10)) == ["high", "b", "c", "a", "low"]


def test_one_job_behind_twenty_of_another_comes_second_at_the_latest() -> None:
    jobs = [*(job(f"a{n}", n) for n in range(20)), job("b", 99, "bob")]
    assert names(in_line(jobs, [], NODES, 10))[:2] == ["a0", "b"]
    used = [Use("ann", ONE, 0, 10)]
    assert names(in_line(jobs, used, NODES, 10))[0] == "b"
    alone = LinePolicy(half_life=None)
    assert names(in_line(jobs, used, NODES, 10, alone))[-1] == "b"


def test_what_was_used_long_ago_counts_less() -> None:
    jobs = [job("a", 1), job("b", 2, "bob")]
    day = 86_400
    used = [Use("ann", ONE, 0, 1000), Use("bob", ONE, 9 * day, 9 * day + 100)]
    assert names(in_line(jobs, used, NODES, 9 * day + 200)) == ["a", "b"]


def test_a_job_that_has_waited_long_counts_as_of_a_higher_priority() -> None:
    jobs = [job("old", 1, since=1), job("new", 2, priority=2, since=7000)]
    policy = LinePolicy(aging=3600)
    assert names(in_line(jobs, [], NODES, 7100, policy)) == ["new", "old"]
    assert names(in_line(jobs, [], NODES, 7201, policy)) == ["old", "new"]
    assert names(in_line(jobs, [], NODES, 9e9, LinePolicy(aging=None))) == ["new", "old"]


def test_use_is_the_dominant_share_over_time_with_what_is_older_counting_less() -> None:
    totals = {"CPU": 8.0, "GPU": 2.0}
    assert share_of(Resources(workers=2, cpus=1, gpus=0.5), totals) == 0.5
    assert share_of(Resources(cpus=0, custom={"tpu": 1}), totals) == 0
    half = used_by([Use("a", Resources(cpus=8), 0, 1)], totals, 101, 100)["a"]
    whole = used_by([Use("a", Resources(cpus=8), 100, 101)], totals, 101, 100)["a"]
    assert half == pytest.approx(whole / 2, rel=1e-2)


@pytest.mark.parametrize("seed", range(20))
def test_a_line_holds_each_job_once_and_those_of_one_owner_as_they_came(seed: int) -> None:
    chance = random.Random(seed)
    jobs = [job(f"j{n}", n, chance.choice("abc"), chance.choice((0, 0, 1))) for n in range(30)]
    line = in_line(jobs, [Use("a", ONE, 0, 50)], NODES, 60)
    assert sorted(names(line)) == sorted(each.job for each in jobs)
    for owner in "abc":
        own = [each for each in line if each.owner == owner]
        assert all((-a.priority, a.order) <= (-b.priority, b.order) for a, b in pairwise(own))
