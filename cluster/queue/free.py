"""The free resources of nodes, and what fits on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cluster.queue.spec import Resources

EPSILON = 1e-6  # Ray counts resources in steps of 1e-4
MANY = 10**9  # processes that take nothing


# What a process takes, by Ray's names: the processes of one kind are alike.
Kind = tuple[tuple[str, float], ...]
Processes = tuple[int, int]


def kind_of(resources: Resources) -> Kind:
    """Returns what each process of a job takes."""
    return tuple(resources.of_each().items())


class Kinds:
    """Numbers the kinds of processes, so that those of thousands of jobs are added up quickly."""

    def __init__(self) -> None:
        self._numbers: dict[Kind, int] = {}

    def processes(self, resources: Resources) -> Processes:
        """Returns the number of the kind of a job's processes, and how many there are."""
        return self._numbers.setdefault(kind_of(resources), len(self._numbers)), resources.workers

    def counted(self, jobs: Iterable[Processes]) -> dict[Kind, int]:
        """Returns how many processes of each kind jobs have together."""
        counts = [0] * len(self._numbers)
        for number, count in jobs:
            counts[number] += count
        return {kind: counts[number] for kind, number in self._numbers.items()}


@dataclass
class FreeResources:
    """Free resources of nodes, which only become less.

    What was found once is remembered for jobs of the same kind, so that a line of thousands of jobs
    is not compared with each of a thousand nodes.

    Attributes:
        nodes: What is free on each node, by Ray's names; default no nodes.
        totals: What each node has in all; default what is free now.
    """

    nodes: list[dict[str, float]] = field(default_factory=list)
    totals: list[dict[str, float]] = field(default_factory=list)
    # Of each kind: the first node that may have room, and how many processes do not fit in all.
    _first: dict[Kind, int] = field(default_factory=dict, init=False, repr=False)
    _too_many: dict[Kind, int] = field(default_factory=dict, init=False, repr=False)
    # Numbers of nodes from which was taken, one after the other; of what was asked of `spares`, how
    # many of them were seen, and the nodes that speak against it.
    _changed: list[int] = field(default_factory=lambda: [-1], init=False, repr=False)
    _taking: dict[_Asked, tuple[int, set[int]]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        self.totals = self.totals or list(self.nodes)

    def fits(self, resources: Resources) -> bool:
        """Tells whether there is room for a job, each process on one node."""
        return self._rooms(kind_of(resources), resources.workers) is not None

    def take(self, resources: Resources) -> bool:
        """Takes what a job needs, each process on one node; False, and nothing, if it does not fit.

        >>> free = FreeResources([{"CPU": 4.0}])
        >>> free.take(Resources(cpus=3)), free.take(Resources(cpus=3)), free.nodes
        (True, False, [{'CPU': 1.0}])
        """
        return self.take_processes(kind_of(resources), resources.workers)

    def take_processes(self, kind: Kind, count: int) -> bool:
        """Takes what processes of a kind need, as `take` does."""
        rooms = self._rooms(kind, count)
        if rooms is None:
            return False
        self.nodes = list(self.nodes)
        for number, taken in rooms:
            node = self.nodes[number] = dict(self.nodes[number])
            for name, amount in kind:
                node[name] -= taken * amount
        self._changed += [number for number, _ in rooms]
        return True

    def _rooms(self, kind: Kind, count: int) -> list[tuple[int, int]] | None:
        """Returns how many processes go to which of the nodes; None if they do not fit."""
        if not kind:
            return [] if self.nodes else None
        if count >= self._too_many.get(kind, count + 1):
            return None
        found, left = [], count
        for number in range(self._first.get(kind, 0), len(self.nodes)):
            room = _room(kind, self.nodes[number])
            if room > 0:
                found.append((number, min(room, left)))
                left -= found[-1][1]
                if not left:
                    break
        self._first[kind] = found[0][0] if found else len(self.nodes)
        if left:
            self._too_many[kind] = count
            return None
        return found

    def spares(self, other: Resources, waits: Resources) -> bool:
        """Tells whether a job takes nothing that one which waits could use, wherever it is put.

        Each node keeps back as much as the job that waits could use of it.

        Args:
            other: What the job takes.
            waits: What the job takes that waits.

        >>> free = FreeResources([{"CPU": 3.0, "GPU": 0.0}], [{"CPU": 4.0, "GPU": 1.0}])
        >>> [free.spares(Resources(cpus=n), Resources(cpus=1, gpus=1)) for n in (1, 2, 3)]
        [True, True, False]
        """
        asked = _Asked(kind_of(other), other.workers, kind_of(waits), waits.workers)
        looked, taking = self._taking.get(asked, (0, set()))
        # Of nodes that have not changed since, it is known.
        for number in set(self._changed[looked:]) if looked else range(len(self.nodes)):
            if asked.takes_from(self.nodes[number], self.totals[number]):
                taking.add(number)
            else:
                taking.discard(number)
        self._taking[asked] = (len(self._changed), taking)
        return not taking


class _Asked(NamedTuple):
    """A job that may take from one that waits."""

    other: Kind
    workers: int
    waits: Kind
    waiting: int

    def takes_from(self, free: Mapping[str, float], total: Mapping[str, float]) -> bool:
        """Tells whether it takes of a node what the one that waits could use."""
        kept = min(self.waiting, _room(self.waits, total))
        taken = min(self.workers, _room(self.other, free))
        keeps = dict(self.waits)
        return any(
            taken * amount > max(0.0, free.get(name, 0.0) - kept * keeps.get(name, 0.0)) + EPSILON
            for name, amount in self.other
        )


def _room(kind: Iterable[tuple[str, float]], node: Mapping[str, float]) -> int:
    """Returns how many processes of a kind could be on a node."""
    room: float = MANY
    for name, amount in kind:
        room = min(room, (node.get(name, 0.0) + EPSILON) // amount)
        if room <= 0:
            return 0
    return int(room)


def fits_beside(
    wanted: Resources, others: Mapping[Kind, int], nodes: Sequence[Mapping[str, float]]
) -> bool:
    """Tells whether a job would fit on nodes beside processes, each put where it fits first.

    Args:
        wanted: What the job takes.
        others: Number of the other processes of each kind.
        nodes: The resources of each node in all.
    """
    free = FreeResources([dict(node) for node in nodes])
    taken = all(
        free.take_processes(kind, count) for kind, count in others.items() if kind and count
    )
    return taken and free.fits(wanted)


def fits_ever(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Tells whether a job would fit if nothing else ran on these nodes."""
    kind, left = kind_of(resources), resources.workers
    for node in nodes:
        left -= max(0, _room(kind, node))
        if left <= 0:
            return True
    return False
