"""The free resources of nodes, and what fits on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.queue.spec import Resources

EPSILON = 1e-6  # Ray counts resources in steps of 1e-4


@dataclass
class FreeResources:
    """Free resources of nodes.

    Attributes:
        nodes: What is free on each node, by Ray's names; default no nodes.
        totals: What each node has in all; default what is free now.
    """

    nodes: list[dict[str, float]] = field(default_factory=list)
    totals: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.totals = self.totals or [dict(node) for node in self.nodes]

    def take(self, resources: Resources) -> bool:
        """Takes what a job needs, each process on one node; False, and nothing, if it does not fit.

        >>> free = FreeResources([{"CPU": 4.0}])
        >>> free.take(Resources(cpus=3)), free.take(Resources(cpus=3)), free.nodes
        (True, False, [{'CPU': 1.0}])
        """
        left = [dict(node) for node in self.nodes]
        wanted = resources.of_each()
        for _ in range(resources.workers):
            for node in left:
                if all(node.get(name, 0) + EPSILON >= amount for name, amount in wanted.items()):
                    for name, amount in wanted.items():
                        node[name] -= amount
                    break
            else:
                return False
        self.nodes = left
        return True

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
        for free, total in zip(self.nodes, self.totals, strict=True):
            kept, taken = _places(waits, total), _places(other, free)
            keeps, takes = waits.of_each(), other.of_each()
            for name, amount in takes.items():
                if (
                    taken * amount
                    > max(0.0, free.get(name, 0.0) - kept * keeps.get(name, 0.0)) + EPSILON
                ):
                    return False
        return True


def _places(resources: Resources, node: Mapping[str, float]) -> int:
    """Returns how many of a job's processes could be on a node."""
    wanted = resources.of_each().items()
    rooms = [int((node.get(name, 0.0) + EPSILON) // amount) for name, amount in wanted]
    return min([resources.workers, *rooms])


def fits_beside(
    wanted: Resources, others: Iterable[Resources], nodes: Sequence[Mapping[str, float]]
) -> bool:
    """Tells whether a job would fit on nodes beside others, each put where it fits first."""
    free = FreeResources([dict(node) for node in nodes])
    return all(free.take(each) for each in others) and free.take(wanted)


def fits_ever(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Tells whether a job would fit if nothing else ran on these nodes."""
    return FreeResources([dict(node) for node in nodes]).take(resources)
