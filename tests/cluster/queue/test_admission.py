"""Admission starts jobs in line, never more than fits, and lets no large job starve."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from benchmarks.scale.clusters import large_cluster
from cluster.queue import free as free_module
from cluster.queue.admission import Admission, QueueLimits, Running, admit
from cluster.queue.free import FreeResources, fits_ever
from cluster.queue.line import Use, Waiting, in_line, totals_of
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


def at_once(nodes: list[dict[str, float]], jobs: list[Waiting], **more: Any) -> Admission:
    """Looks once at jobs on a cluster on which the given ones run."""
    running, left = more.get("running", []), free(nodes)
    assert all(left.take(job.resources) for job in running)
    limits = more.get("limits", QueueLimits())
    return admit(in_line(jobs), running, nodes, (left,), limits, more.get("now", 0.0))


def runs(name: str, **more: Any) -> Running:
    return Running(name, more.pop("owner", "a"), more.pop("priority", 0), **more)


def waits(name: str, order: int = 1, **more: Any) -> Waiting:
    return Waiting(name, more.pop("owner", "a"), more.pop("priority", 0), order, **more)


def names(found: Admission) -> list[str]:
    return [job.job for job in found.start]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_node_is_ever_over_committed(seed: int) -> None:
    nodes, jobs = mix(seed)
    left = free(nodes)
    admitted = admit(in_line(jobs), [], nodes, (left,), QueueLimits()).start
    assert all(amount >= -1e-6 for node in left.nodes for amount in node.values())
    for name in ("CPU", "GPU"):
        taken = sum(j.resources.workers * j.resources.of_each().get(name, 0) for j in admitted)
        before = sum(node[name] for node in nodes)
        after = sum(node[name] for node in left.nodes)
        assert before - after == pytest.approx(taken)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_may_start_and_fits_is_started(seed: int) -> None:
    nodes, jobs = mix(seed)
    first = next(job for job in in_line(jobs) if fits_ever(job.resources, nodes))
    assert at_once(nodes, jobs).start[0] == first


def ends(
    seed: int, nodes: list[dict[str, float]], line: list[Waiting], first: Waiting, behind: bool
) -> int | None:
    """Plays a queue until its first blocked job starts; returns when, if there is one.

    Jobs end in an order that the seed decides, one after the other. Those behind the first blocked
    one are in line as well, or are not.
    """
    chance = random.Random(seed)
    length = {job.job: chance.randint(1, 50) for job in line}
    waiting, running = list(line), {}
    for now in range(1000):
        running = {name: (job, end) for name, (job, end) in running.items() if end > now}
        left = free(nodes)
        assert all(left.take(job.resources) for job, _ in running.values())
        asked = waiting if behind else [j for j in waiting if line.index(j) <= line.index(first)]
        held = [Running(j.job, j.owner, 0, j.resources) for j, _ in running.values()]
        for job in admit(asked, held, nodes, (left,), QueueLimits()).start:
            running[job.job] = (job, now + length[job.job])
            waiting.remove(job)
        if first not in waiting:
            return now
    return None


@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_that_waits_starts_no_later_for_those_that_start_before_it(seed: int) -> None:
    chance = random.Random(seed)
    nodes = [{"CPU": float(chance.randint(2, 8)), "GPU": float(chance.choice((0, 1, 2)))}]
    jobs = [job for job in mix(seed)[1] if fits_ever(job.resources, nodes)]
    line = in_line(jobs)
    blocked = at_once(nodes, jobs).blocked
    if blocked is None:
        return
    alone = ends(seed, nodes, line, blocked, behind=False)
    assert ends(seed, nodes, line, blocked, behind=True) == alone


def test_who_waits_for_a_gpu_holds_back_nobody_who_wants_cpus_alone() -> None:
    nodes = [{"CPU": 8.0, "GPU": 1.0}]
    busy = runs("busy", resources=Resources(cpus=1, gpus=1))
    gpu = waits("gpu", 1, resources=Resources(cpus=1, gpus=1))
    small = [waits(f"cpu{n}", n, resources=Resources(cpus=1)) for n in range(2, 12)]
    found = at_once(nodes, [gpu, *small], running=[busy])
    assert found.blocked == gpu
    assert len(found.start) == 6  # and one CPU is kept for it
    assert found.backfill == set(names(found))


def test_who_waits_for_all_of_a_machine_lets_pass_what_has_ended_by_then_or_makes_room() -> None:
    nodes = [{"CPU": 8.0}]
    busy = runs("busy", resources=Resources(cpus=1), started=0, limit=100)
    jobs = [
        waits("whole", 1, resources=Resources(cpus=8)),
        waits("long", 2, resources=Resources(cpus=1)),
        waits("too long", 3, resources=Resources(cpus=1), limit=61),
        waits("short", 4, resources=Resources(cpus=1), limit=60),
        waits("yields", 5, resources=Resources(cpus=1), preemptible=True),
    ]
    assert names(at_once(nodes, jobs, running=[busy], now=40)) == ["short", "yields"]
    endless = runs("busy", resources=Resources(cpus=1))
    assert names(at_once(nodes, jobs, running=[endless], now=40)) == ["yields"]


@pytest.mark.parametrize(
    ("priority", "changes", "gone"),
    [
        (1, {}, ["late"]),  # the last that started
        (1, {"early": {"priority": -1}}, ["early"]),  # the lowest
        (1, {"late": {"preemptible": False}}, ["early"]),
        (1, {"late": {"leaving": True}}, []),  # it goes already
        (0, {}, []),
        (0, {"early": {"backfill": True}}, ["early"]),
    ],
)
def test_as_few_as_can_make_room_for_a_job_of_a_higher_priority(
    priority: int, changes: dict[str, dict[str, Any]], gone: list[str]
) -> None:
    nodes = [{"CPU": 4.0}]
    both = [
        runs(name, resources=Resources(cpus=2), **{"started": at, "preemptible": True, **more})
        for name, at in (("early", 1), ("late", 2))
        for more in (changes.get(name, {}),)
    ]
    first = waits("first", priority=priority, resources=Resources(cpus=2))
    assert at_once(nodes, [first], running=both).preempt == gone
    whole = waits("whole", priority=9, resources=Resources(cpus=5))
    assert at_once(nodes, [whole], running=both).preempt == []  # it would fit nowhere


@pytest.mark.parametrize("seed", SEEDS)
def test_all_that_fit_start_some_time_though_new_ones_keep_coming(seed: int) -> None:
    nodes, jobs = mix(seed, 12)
    small = Resources(cpus=0.5)
    chance, waiting = random.Random(seed), list(jobs)
    able = {job.job for job in jobs if fits_ever(job.resources, nodes)}
    started: set[str] = set()
    uses: list[Use] = []
    running: list[tuple[Waiting, list[int]]] = []
    for tick in range(400):
        waiting.append(Waiting(f"small{tick}", "d", 5 if tick < 5 else 0, 100 + tick, small))
        uses += [Use(job.owner, job.resources, tick - 1, tick) for job, _ in running]
        held = [Running(j.job, j.owner, j.priority, j.resources) for j, _ in running]
        left = FreeResources(remaining(nodes, running), nodes)
        line = in_line(waiting, uses, nodes, tick)
        for job in admit(line, held, nodes, (left,), QueueLimits()).start:
            places = put(job, remaining(nodes, running), chance)
            if places is not None:
                running.append((job, places))
                started.add(job.job)
        waiting = [job for job in waiting if job.job not in started]
        running = [each for each in running if chance.random() > 0.3]
        if able <= started:
            return
    raise AssertionError(f"never started: {able - started}")


def remaining(
    nodes: list[dict[str, float]], running: list[tuple[Waiting, list[int]]]
) -> list[dict[str, float]]:
    """Returns what is left of nodes beside jobs whose processes are where they are."""
    left = [dict(node) for node in nodes]
    for job, places in running:
        for place in places:
            for name, amount in job.resources.of_each().items():
                left[place][name] -= amount
    return left


def put(job: Waiting, left: list[dict[str, float]], chance: random.Random) -> list[int] | None:
    """Returns where a job's processes are put: anywhere that they fit; None if they do not."""
    for _ in range(50):
        places: list[int] = []
        free = [dict(node) for node in left]
        for _ in range(job.resources.workers):
            each = job.resources.of_each()
            fit = [n for n, node in enumerate(free) if all(node[k] >= v for k, v in each.items())]
            if not fit:
                break
            places.append(chance.choice(fit))
            for name, amount in each.items():
                free[places[-1]][name] -= amount
        else:
            return places
    return None


@pytest.mark.parametrize("seed", SEEDS)
def test_limits_hold_in_all_and_for_each_owner(seed: int) -> None:
    jobs = mix(seed)[1]
    nodes = [{"CPU": 1000.0, "GPU": 1000.0}]
    limits = QueueLimits(max_running=7, max_running_per_owner=3)
    running = [runs(f"r{n}", owner=owner, resources=Resources()) for n, owner in enumerate("aaz")]
    admitted = at_once(nodes, jobs, running=running, limits=limits).start
    counts = Counter(job.owner for job in [*admitted, *running])
    assert counts.total() == 7  # nobody is held back by an owner who has enough
    assert all(count <= 3 for count in counts.values())


def test_nobody_holds_more_than_his_quota_nor_holds_back_others() -> None:
    nodes = [{"CPU": 16.0, "GPU": 4.0}]
    one = Resources(cpus=1, gpus=1)
    jobs = [
        waits(f"{owner}{n}", n, owner=owner, resources=one) for n in (1, 2, 3) for owner in "ab"
    ]
    limits = QueueLimits(quotas={"a": {"GPU": 2}, "*": {"GPU": 1}})
    running = [runs("ra", owner="a", resources=one)]
    assert names(at_once(nodes, jobs, running=running, limits=limits)) == ["a1", "b1"]


def test_a_job_must_fit_by_every_estimate() -> None:
    jobs = [Waiting("j", "a", 0, 1, Resources(cpus=2))]
    nodes = [{"CPU": 4.0}]
    full, busy = free(nodes), free([{"CPU": 1.0}])
    assert admit(jobs, [], nodes, (full, busy), QueueLimits()).start == []
    assert full.nodes == nodes  # what was taken is given back


def test_a_worker_is_on_one_node_and_unknown_resources_fit_nowhere() -> None:
    nodes = [{"CPU": 2.0}, {"CPU": 2.0}]
    assert fits_ever(Resources(workers=2, cpus=2), nodes)
    assert not fits_ever(Resources(cpus=3), nodes)
    assert not fits_ever(Resources(custom={"tpu": 1}), nodes)
    assert fits_ever(Resources(workers=20, cpus=0.2), nodes)


def test_a_cluster_of_a_thousand_nodes_is_admitted_by_few_looks_at_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Counter[str]()
    room = free_module._room

    def counted(kind: Any, node: Any) -> int:
        looks["nodes"] += 1
        return room(kind, node)

    monkeypatch.setattr(free_module, "_room", counted)
    nodes, running, waiting = large_cluster(nodes=1000, running=6000, waiting=1000)
    estimates = [FreeResources([totals_of(nodes)]), FreeResources(list(nodes))]
    for job in running:
        assert all(estimate.take(job.resources) for estimate in estimates)
    looks.clear()
    line = in_line(waiting, nodes=nodes)
    found = admit(line, running, nodes, estimates, QueueLimits(), now=50.0)
    assert len(line) == 1000
    assert found.blocked is not None
    # Of each kind of process a look at each node, at each of the halvings; not for each job.
    assert looks["nodes"] < 80 * len(nodes)
