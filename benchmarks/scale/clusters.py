"""A large cluster that nobody has: nodes, jobs that run on them, and jobs that wait."""

from __future__ import annotations

import random

from cluster.queue.admission import Running
from cluster.queue.free import FreeResources
from cluster.queue.line import Waiting
from cluster.queue.spec import Resources

KINDS = (
    Resources(cpus=4, gpus=1),
    Resources(workers=4, cpus=8, gpus=2),
    Resources(cpus=2),
    Resources(workers=2, cpus=4, gpus=1),
    Resources(cpus=0.5),
)
OWNERS = tuple(f"owner{number}" for number in range(20))
WHOLE = Resources(workers=200, cpus=32, gpus=8)  # of a fifth of the nodes


def large_cluster(
    nodes: int, running: int, waiting: int, seed: int = 0
) -> tuple[list[dict[str, float]], list[Running], list[Waiting]]:
    """Returns nodes of 8 GPUs, jobs that run on them, most with a limit, and jobs that wait.

    Of those that wait, one of a high priority wants a fifth of all nodes: it is blocked, others may
    pass it, and whoever is preemptible may have to make room.

    Args:
        nodes: How many there are.
        running: How many jobs run at most, as long as they fit.
        waiting: How many jobs wait.
        seed: Of all choices.
    """
    chance = random.Random(seed)
    machines = [{"CPU": 64.0, "GPU": 8.0} for _ in range(nodes)]
    free, run = FreeResources(list(machines)), []
    for number in range(running):
        kind = chance.choice(KINDS)
        if free.take(kind):
            limit = chance.choice((None, *(float(chance.randint(60, 7200)) for _ in range(3))))
            run.append(
                Running(
                    f"r{number}", chance.choice(OWNERS), chance.randint(0, 3), kind,
                    started=float(number % 50), limit=limit, preemptible=chance.random() < 0.5,
                )
            )  # fmt: skip
    line = [
        Waiting(
            f"w{number}", chance.choice(OWNERS), 9 if number == waiting // 2 else 0, number,
            WHOLE if number == waiting // 2 else chance.choice(KINDS),
            limit=chance.choice((None, 30.0)), preemptible=chance.random() < 0.2,
        )
        for number in range(waiting)
    ]  # fmt: skip
    return machines, run, line
