"""What a killed driver leaves on the cluster ends, and what others have there stays."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cluster.local_record import LocalCluster
from cluster.orphans import end_orphans
from tests.support.orphans import actors, driver, placement_groups
from tests.support.queues import wait_for

pytestmark = pytest.mark.cluster


def test_killed_drivers_leave_no_actor_no_placement_group_and_no_process(
    ray_cluster: LocalCluster, ray_driver: None, tmp_path: Path
) -> None:
    files = [tmp_path / f"job{n}" for n in range(3)]
    drivers = [subprocess.Popen(driver(file)) for file in files]
    wait_for(lambda: all(file.exists() for file in files))
    jobs = [file.read_text().strip() for file in files]
    assert [actors(job) for job in jobs] == [["PlacementGroupCleaner"]] * 3
    for each in drivers[:2]:
        each.kill()
        each.wait()
    ended: list[str] = []

    def none_is_left() -> bool:
        ended.extend(end_orphans())
        return not any(actors(job) or placement_groups(job) for job in jobs[:2])

    wait_for(none_is_left)
    assert len(ended) >= 2
    assert len(actors(jobs[2])) == placement_groups(jobs[2]) == 1  # its driver lives
    drivers[2].kill()
    drivers[2].wait()
    wait_for(lambda: end_orphans() or not actors(jobs[2]))
    wait_for(lambda: not processes_of(ray_cluster))


def processes_of(cluster: LocalCluster) -> list[str]:
    titles = []
    for each in psutil.Process(cluster.pid).children(True):
        with suppress(psutil.Error):  # it has just ended
            titles.append(" ".join(each.cmdline()))
    return [title for title in titles if "PlacementGroupCleaner" in title]
