"""A driver that leaves on the cluster what one leaves that is killed as its training starts."""

from __future__ import annotations

import sys
from pathlib import Path

import ray

# Its cleaner is not told to begin: that is for the controller, which ends with the driver.
DRIVER = """
import os, sys, time
import ray
from ray.train.v2._internal.execution.controller.placement_group_cleaner import (
    PlacementGroupCleaner,
)
from cluster.local import connect

connect()
cleaner = ray.remote(num_cpus=0)(PlacementGroupCleaner).options(lifetime="detached").remote(
    controller_actor_id="", check_interval_s=1, get_actor_timeout_s=1, stop_timeout=1
)
group = ray.util.placement_group([{"CPU": 0.1}])
assert group.wait(60)
ray.get(cleaner.register_placement_group.remote(group))
print(ray.get_runtime_context().get_job_id(), file=open(sys.argv[1] + ".new", "w"), flush=True)
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


def driver(file: Path) -> list[str]:
    """Returns the command of such a driver, which tells the id of its Ray job in a file."""
    return [sys.executable, "-c", DRIVER, str(file)]


def actors(job: str) -> list[str]:
    """Returns the classes of the actors of a Ray job that live."""
    found = ray._private.state.actors().values()
    ours = [each for each in found if each["JobID"] == job and each["State"] != "DEAD"]
    return [each["ActorClassName"] for each in ours]


def placement_groups(job: str) -> int:
    """Returns how many placement groups of a Ray job there are; their ids end with its own."""
    found = ray._private.state.state.placement_group_table()
    return sum(name.endswith(job) and group["state"] != "REMOVED" for name, group in found.items())
