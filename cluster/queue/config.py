"""How the queue is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from cluster.queue.admission import QueueLimits
from flowkd.config import Config


class NodeKind(Config):
    """Nodes that a cluster adds when they are asked for.

    Attributes:
        resources: What each has, by Ray's names.
        most: How many there may be.
    """

    resources: dict[str, float]
    most: int = Field(1, ge=1)


class QueueConfig(Config):
    """How the queue is run.

    Attributes:
        may_come: The nodes that the cluster may add; the dispatcher asks for them.
        limits: What it allows.
        interval: Seconds between two looks at everything.
        silence: An attempt that could not say for so many seconds that it is alive stops itself.
        grace: Seconds that a job's command has to stop when it is asked to.
        settling: For so many seconds after a job has started, Ray is not believed to have counted
            what it takes.
        starting: An attempt that has not begun for so many seconds after it was handed to Ray is
            given up, and made again.
        margin: Seconds that are waited beyond `silence` and `grace` before an attempt of which
            nothing is heard counts as lost, and another one is made.
    """

    may_come: tuple[NodeKind, ...] = ()
    limits: QueueLimits = QueueLimits()
    interval: float = Field(1.0, gt=0)
    silence: float = Field(60.0, gt=0)
    grace: float = Field(30.0, gt=0)
    settling: float = Field(60.0, ge=0)
    starting: float = Field(300.0, gt=0)
    margin: float = Field(10.0, ge=0)

    def possible(self, nodes: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
        """Returns the nodes that are there, and those that may come."""
        coming = (dict(kind.resources) for kind in self.may_come for _ in range(kind.most))
        return [*map(dict, nodes), *coming]

    @property
    def patience(self) -> float:
        """Seconds after which an attempt of which nothing is heard has stopped itself."""
        return self.silence + self.grace + self.margin
