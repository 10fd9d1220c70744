"""How the queue is run."""

from __future__ import annotations

from pydantic import Field

from cluster.queue.admission import QueueLimits
from flowkd.config import Config


class QueueConfig(Config):
    """How the queue is run.

    Attributes:
        limits: What it allows.
        interval: Seconds between two looks at everything.
        silence: An attempt that could not say for so many seconds that it is alive stops itself.
        grace: Seconds that a job's command has to stop when it is asked to.
        settling: For so many seconds after a job has started, Ray is not believed to have counted
            what it takes.
        margin: Seconds that are waited beyond `silence` and `grace` before an attempt of which
            nothing is heard counts as lost.
    """

    limits: QueueLimits = QueueLimits()
    interval: float = Field(1.0, gt=0)
    silence: float = Field(60.0, gt=0)
    grace: float = Field(30.0, gt=0)
    settling: float = Field(60.0, ge=0)
    margin: float = Field(10.0, ge=0)
