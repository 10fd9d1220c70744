"""A cluster in memory that stands for Ray, where a test decides when its attempts go on.

Real processes cannot be stopped between every two calls, and take seconds to start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cluster.queue.cluster import AttemptStatus
from cluster.queue.free import FreeResources
from cluster.queue.messages import AttemptOutcome, Heartbeat
from cluster.queue.records import QueueRecords

COMMANDS: Mapping[str, tuple[str, ...]] = {"c": ("true",)}  # of the kind of the tests' jobs


class SmallCluster:
    """Runs attempts, one step for each call of `step`: begin, live, end.

    Args:
        records: Of the queue whose attempts it runs.
        cpus: CPUs of its only node.

    Attributes:
        steps: Steps so far of each attempt that was submitted; -1 once it has ended.
        ran: Jobs in the order in which their attempts began to run.
        submitted: How often each attempt was submitted.
        asked: The resources that were requested last.
    """

    def __init__(self, records: QueueRecords, cpus: float) -> None:
        self.records, self.cpus = records, cpus
        self.steps: dict[tuple[str, int], int] = {}
        self.ran: list[str] = []
        self.submitted: Counter[tuple[str, int]] = Counter()
        self.asked: list[dict[str, float]] = []

    def submit(self, job: str, attempt: int, kind: str = "c") -> None:
        if (job, attempt) not in self.steps:
            self.steps[job, attempt] = 0
            self.submitted[job, attempt] += 1

    def status(self, job: str, attempt: int) -> AttemptStatus:
        if (job, attempt) not in self.steps:
            return "unknown"
        return "exited" if self.steps[job, attempt] < 0 else "alive"

    def stop(self, job: str, attempt: int) -> None:
        if self.steps.get((job, attempt), -1) >= 0:
            self.end(
                job, attempt, AttemptOutcome(exit_code=143, reason="stopped", lost=True, time=0)
            )

    def nodes(self) -> list[dict[str, float]]:
        return [{"CPU": self.cpus}]

    def available(self) -> FreeResources:
        return FreeResources(self.nodes())

    def request_resources(self, bundles: list[dict[str, float]]) -> None:
        self.asked = bundles

    def end_orphans(self) -> None:
        """Leaves none."""

    def end(self, job: str, attempt: int, outcome: AttemptOutcome) -> None:
        self.records.end(job, attempt, outcome)
        self.steps[job, attempt] = -1

    def step(self) -> None:
        for (job, attempt), step in list(self.steps.items()):
            alive = [each for each, at in self.steps.items() if each[0] == job and at > 0]
            assert len(alive) <= 1, f"two attempts at once: {alive}"
            if step == 0:
                claimed = self.records.begin(job, attempt) and self.records.exists(job)
                if not claimed or self.records.cancelled(job):
                    self.steps[job, attempt] = -1
                    if self.records.cancelled(job):
                        self.end(
                            job, attempt, AttemptOutcome(exit_code=130, reason="cancelled", time=0)
                        )
                    continue
                self.ran.append(job)
                self.records.beat(job, attempt, Heartbeat(beats=1, time=0))
                self.steps[job, attempt] = 1
            elif step == 1:
                code = int(job == "fails" and attempt == 1)
                self.end(job, attempt, AttemptOutcome(exit_code=code, time=0))
