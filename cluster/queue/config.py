"""The configuration of a queue: what it allows, how often it looks, when an attempt is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from cluster.queue.admission import QueueLimits
from flowkd.config import Config
from flowkd.names import KindName

# A program and its arguments.
Command = Annotated[tuple[str, ...], Field(min_length=1)]


class NodeType(Config):
    """Nodes of one kind that the cluster's autoscaler adds when they are asked for.

    Attributes:
        resources: What each node has, by Ray's names, `{CPU: 8, GPU: 1}` for one.
        max_nodes: How many of them there may be; default 1.
    """

    resources: dict[str, float]
    max_nodes: int = Field(1, ge=1)


class QueueConfig(Config):
    """How a queue is run; all times are in seconds.

    Attributes:
        autoscaling_nodes: Nodes that the cluster may add, and that the dispatcher asks for; default
            none: the cluster does not grow.
        commands: The program, and its arguments, that runs each kind of job beside flowkd's own;
            the words `{config}` and `{store}` stand for the path of the job's config file and the
            URI of the store, and `python` for the cluster's own. Nothing else is run, whatever is
            written to the store; default none.
        limits: How many jobs it takes and runs.
        poll_interval: Time between two looks at all jobs; default 1.
        heartbeat_timeout: An attempt that could not write a heartbeat for so long stops itself;
            default 60.
        grace_period: Time between SIGTERM and SIGKILL to a job's command; default 30.
        resource_settle_period: Time that Ray may take to count what a job uses that has started;
            until then the dispatcher counts it; default 60.
        start_timeout: An attempt that has not begun so long after it was submitted to Ray is given
            up, and another one follows; default 300.
        private_webhooks: Whether webhooks may name private addresses, and those of the dispatcher's
            own machine; default false.
        keep_ended: Ended jobs that stay in the queue and its table; those that ended before them
            move to the archive, of which `flowkd queue --all`, `show` and `logs` tell as well;
            default 200.
        archive_days: Days after which an archived job is removed for good; default None: never.
        loss_margin: Time beyond `heartbeat_timeout` and `grace_period` before a silent attempt
            counts as lost, and another one follows; default 10.
    """

    autoscaling_nodes: tuple[NodeType, ...] = ()
    commands: dict[KindName, Command] = Field(default_factory=dict)
    limits: QueueLimits = QueueLimits()
    poll_interval: float = Field(1.0, gt=0)
    heartbeat_timeout: float = Field(60.0, gt=0)
    grace_period: float = Field(30.0, gt=0)
    resource_settle_period: float = Field(60.0, ge=0)
    start_timeout: float = Field(300.0, gt=0)
    private_webhooks: bool = False
    keep_ended: int = Field(200, ge=0)
    archive_days: float | None = Field(None, gt=0)
    loss_margin: float = Field(10.0, ge=0)

    def possible_nodes(self, nodes: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
        """Returns the resources of the nodes that are there, and of those that may be added."""
        added = [
            dict(each.resources) for each in self.autoscaling_nodes for _ in range(each.max_nodes)
        ]
        return [*map(dict, nodes), *added]

    def no_command(self, kind: str) -> str | None:
        """Returns why a job of a kind cannot be run; None if it can.

        >>> QueueConfig(commands={"report": ("report.sh",)}).no_command("bake")
        "the queue runs no jobs of kind 'bake'; expected one of report"
        """
        if kind in self.commands:
            return None
        known = ", ".join(self.commands) or "none"
        return f"the queue runs no jobs of kind {kind!r}; expected one of {known}"

    @property
    def loss_timeout(self) -> float:
        """Seconds without a heartbeat after which an attempt has certainly stopped itself.

        >>> QueueConfig(heartbeat_timeout=20, grace_period=5, loss_margin=1).loss_timeout
        26.0
        """
        return self.heartbeat_timeout + self.grace_period + self.loss_margin
