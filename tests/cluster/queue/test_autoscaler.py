"""The dispatcher on a real autoscaler: a node comes for a job that waits, and goes after it.

The nodes are raylets of this machine, which Ray's own "fake" provider starts and ends; the
autoscaler, the control store and the jobs are those of any cluster. Ray's AutoscalingCluster is
not used: it runs `ray stop --force`, which ends every other cluster of the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from ray.dashboard.modules.job.sdk import JobSubmissionClient
from ray.util.state import list_nodes

from cluster.local import OWN_PORTS, ray_environment
from cluster.local_record import LocalCluster
from cluster.ports import LOOPBACK, free_ports
from cluster.queue.submission import submit
from flowkd.store.store import Store
from tests.support.queues import TestQueue, wait_for

pytestmark = pytest.mark.cluster
NODE = {"CPU": 2, "rare": 1}
FAKE = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
LEGACY = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files",
)  # fmt: skip


def autoscaling(address: str) -> dict[str, object]:
    """Returns the config of an autoscaler that may add one node, and lets it go after seconds."""
    return {
        "cluster_name": "test",
        "max_workers": 1,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.05,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,  # all nodes have one address; else none counts as alive
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "rare": {
                "resources": NODE, "node_config": {}, "min_workers": 0, "max_workers": 1,
            },
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        **{name: [] for name in LEGACY},
    }  # fmt: skip


def started(folder: str) -> LocalCluster:
    gcs, dashboard, client = free_ports(3)
    address = f"{LOOPBACK}:{gcs}"
    config = Path(folder, "autoscaling.json")
    config.write_text(json.dumps(autoscaling(address)), encoding="utf-8")
    with Path(folder, "start.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
                f"--node-ip-address={LOOPBACK}", f"--port={gcs}", "--num-cpus=0", "--num-gpus=0",
                "--include-dashboard=true", f"--dashboard-host={LOOPBACK}",
                f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
                *(f"--{name}=0" for name in OWN_PORTS),
                f"--object-store-memory={128 * 1024**2}", f"--temp-dir={folder}",
                f"--autoscaling-config={config}", "--disable-usage-stats",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**ray_environment(), **FAKE}, start_new_session=True,
        )  # fmt: skip
    return LocalCluster(process.pid, address, f"http://{LOOPBACK}:{dashboard}", folder, "")


def processes(cluster: LocalCluster) -> list[psutil.Process]:
    """Returns the cluster's: of its session, or with its folder in their command."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            named = any(cluster.folder in word for word in process.cmdline())
            if named or os.getsid(process.pid) == cluster.pid:
                found.append(process)
    return found


def end(cluster: LocalCluster) -> None:
    for _ in range(3):  # what one of them starts in its last moment goes with the next round
        left = processes(cluster)
        for process in left:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(left, timeout=10)
    with suppress(ChildProcessError):
        os.waitpid(cluster.pid, 0)
    assert not processes(cluster)
    shutil.rmtree(cluster.folder, ignore_errors=True)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    cluster = started(tempfile.mkdtemp(prefix="flowkd-"))
    try:
        log = Path(cluster.folder, "start.log")
        wait_for(lambda: answers(cluster), about=log.read_text)
        yield cluster
    finally:
        end(cluster)


def answers(cluster: LocalCluster) -> bool:
    try:
        return bool(JobSubmissionClient(cluster.dashboard).get_version())
    except (ConnectionError, RuntimeError):
        return False


def workers(cluster: LocalCluster) -> list[str]:
    """Returns the states of the nodes that the autoscaler has added."""
    nodes = list_nodes(address=cluster.dashboard)
    return [node.state for node in nodes if not node.is_head_node]


def test_a_node_comes_for_a_job_and_goes_after_it(cluster: LocalCluster, tmp_path: Path) -> None:
    queue = TestQueue(cluster, Store(str(tmp_path / "store")), tmp_path)
    queue.serve("growing", autoscaling_nodes=[{"resources": NODE, "max_nodes": 1}])
    assert workers(cluster) == []
    submit(queue.records, queue.spec("waits", 3, resources={"cpus": 2, "custom": {"rare": 1}}))
    log = Path(cluster.folder, "session_latest", "logs", "monitor.log")
    queue.wait("waits", "running")
    assert workers(cluster) == ["ALIVE"]  # it did not start before its node was there
    queue.wait("waits")
    assert queue.state("waits") == "succeeded"
    wait_for(lambda: workers(cluster) == ["DEAD"], about=lambda: log.read_text()[-3000:])
