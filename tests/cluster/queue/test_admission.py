"""Admission starts jobs in line, never more than fits, and lets no large job starve."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from cluster.queue.admission import FreeResources, QueueLimits, Waiting, admit, fits_ever, in_line
from cluster.queue.spec import Resources

SEEDS = range(40)


def mix(seed: int, count: int = 30) -> tuple[list[dict[str, float]], list[Waiting]]:
    """Returns random nodes and jobs."""
    chance = random.Random(seed)
    nodes = [
        {"CPU": float(chance.randint(1, 8)), "GPU": float(chance.choice((0, 0, 1, 2)))}
        for _ in range(chance.randint(1, 4))
    ]
    jobs = [
        Waiting(
            f"j{n}",
            chance.choice("abc"),
            chance.choice((0, 0, 0, 1, 5)),
            n,
            Resources(
                workers=chance.randint(1, 3),
                cpus=chance.choice((0.1, 0.5, 1, 2, 4)),
                gpus=chance.choice((0, 0, 1)),
            ),
        )
        for n in range(count)
    ]
    return nodes, jobs


def free(nodes: list[dict[str, float]]) -> FreeResources:
    return FreeResources([dict(node) for node in nodes])


def at_once(
    nodes: list[dict[str, float]], jobs: list[Waiting], limits: QueueLimits | None = None
) -> list[Waiting]:
    return admit(jobs, {}, nodes, (free(nodes),), limits or QueueLimits())


@pytest.mark.parametrize("seed", SEEDS)
def test_no_node_is_ever_over_committed(seed: int) -> None:
    nodes, jobs = mix(seed)
    left = free(nodes)
    admitted = admit(jobs, {}, nodes, (left,), QueueLimits())
    assert all(amount >= -1e-6 for node in left.nodes for amount in node.values())
    for name in ("CPU", "GPU"):
        taken = sum(j.resources.workers * j.resources.of_each().get(name, 0) for j in admitted)
        before = sum(node[name] for node in nodes)
        after = sum(node[name] for node in left.nodes)
        assert before - after == pytest.approx(taken)


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_overtakes_a_job_that_wants_the_same(seed: int) -> None:
    nodes, jobs = mix(seed)
    admitted = at_once(nodes, jobs)
    assert admitted == in_line(admitted)
    started = {job.job for job in admitted}
    line = in_line(jobs)
    for place, job in enumerate(line):
        if job.job in started or not fits_ever(job.resources, nodes):
            continue
        wanted = job.resources.of_each().keys()
        behind = [each for each in line[place + 1 :] if each.job in started]
        assert not any(wanted & each.resources.of_each().keys() for each in behind)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_may_start_and_fits_is_started(seed: int) -> None:
    nodes, jobs = mix(seed)
    first = next(job for job in in_line(jobs) if fits_ever(job.resources, nodes))
    assert at_once(nodes, jobs)[0] == first


@pytest.mark.parametrize("seed", SEEDS)
def test_all_that_fit_start_some_time_though_new_ones_keep_coming(seed: int) -> None:
    nodes, jobs = mix(seed, 12)
    small = Resources(cpus=0.5)
    chance, running, waiting, order = random.Random(seed), {}, list(jobs), 100
    able = {job.job for job in jobs if fits_ever(job.resources, nodes)}
    started: set[str] = set()
    for tick in range(400):
        waiting.append(Waiting(f"small{tick}", "d", 5 if tick < 5 else 0, order + tick, small))
        left = free(nodes)
        for job in running.values():
            assert left.take(job.resources)
        for job in admit(waiting, {}, nodes, (left,), QueueLimits()):
            running[job.job] = job
            started.add(job.job)
        waiting = [job for job in waiting if job.job not in started]
        running = {name: job for name, job in running.items() if chance.random() > 0.3}
        if able <= started:
            return
    raise AssertionError(f"never started: {able - started}")


@pytest.mark.parametrize("seed", SEEDS)
def test_limits_hold_in_all_and_for_each_owner(seed: int) -> None:
    nodes, jobs = mix(seed)
    nodes = [{"CPU": 1000.0, "GPU": 1000.0}]
    limits = QueueLimits(max_running=7, max_running_per_owner=3)
    running = {"a": 2, "z": 1}
    admitted = admit(jobs, running, nodes, (free(nodes),), limits)
    counts = Counter(job.owner for job in admitted) + Counter(running)
    assert counts.total() == 7  # nobody is held back by an owner who has enough
    assert all(count <= 3 for count in counts.values())


def test_a_job_must_fit_by_every_estimate() -> None:
    jobs = [Waiting("j", "a", 0, 1, Resources(cpus=2))]
    nodes = [{"CPU": 4.0}]
    full, busy = free(nodes), free([{"CPU": 1.0}])
    assert admit(jobs, {}, nodes, (full, busy), QueueLimits()) == []
    assert full.nodes == nodes  # what was taken is given back


def test_a_worker_is_on_one_node_and_unknown_resources_fit_nowhere() -> None:
    nodes = [{"CPU": 2.0}, {"CPU": 2.0}]
    assert fits_ever(Resources(workers=2, cpus=2), nodes)
    assert not fits_ever(Resources(cpus=3), nodes)
    assert not fits_ever(Resources(custom={"tpu": 1}), nodes)
    assert fits_ever(Resources(workers=20, cpus=0.2), nodes)
