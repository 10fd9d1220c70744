"""What it takes to look at the line of a large cluster."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.scale.clusters import large_cluster
from cluster.queue.admission import QueueLimits, admit
from cluster.queue.free import FreeResources
from cluster.queue.line import in_line, totals_of

ROUNDS = 11
# Jobs that run at most and that wait: a cluster that fills up, and one that is full.
CASES = {"fills up": (2000, 1000), "full": (10_000, 1000), "full, a long line": (10_000, 10_000)}


def measure(count: int) -> dict[str, Any]:
    """Returns milliseconds, medians by the clock and of the CPU, of line and admission, by case."""
    found = {}
    for name, (running, waiting) in CASES.items():
        nodes, run, line = large_cluster(count, running, waiting)
        times, of_cpu = [], []
        for _ in range(ROUNDS):
            estimates = [FreeResources([totals_of(nodes)]), FreeResources(list(nodes))]
            for job in run:
                assert all(estimate.take(job.resources) for estimate in estimates)
            began, cpu = time.perf_counter(), time.process_time()
            ordered = in_line(line, nodes=nodes)
            after = admit(ordered, run, nodes, estimates, QueueLimits(), now=50.0)
            times.append(time.perf_counter() - began)
            of_cpu.append(time.process_time() - cpu)
        found[name] = {
            "nodes": count,
            "running": len(run),
            "waiting": len(line),
            "started": len(after.start),
            "make_room": len(after.preempt),
            "ms": round(1000 * statistics.median(times), 1),
            "cpu_ms": round(1000 * statistics.median(of_cpu), 1),
        }
    return found
