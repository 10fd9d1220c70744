"""A training on three nodes of its own cluster, one of which is lost in mid-run.

python shrinking.py CONFIG STORE: prints, as JSON, when, and how many workers there were.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import ray
import yaml
from ray.cluster_utils import Cluster

from cluster.storage import StorageConfig
from cluster.train.launch import run_training
from flowkd.config import parse_config
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import SNAPSHOT, current_folder
from flowkd.training.config import TrainingConfig

SECONDS = 120


@contextlib.contextmanager
def three_nodes() -> Iterator[Cluster]:
    """A head without CPUs for training, and two nodes of one; leaves no process behind."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            cluster.add_node(wait=False, num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="WARNING")
        yield cluster
    finally:
        started = psutil.Process().children(recursive=True)
        ray.shutdown()
        cluster.shutdown()
        end(started)


def end(processes: list[psutil.Process]) -> None:
    """Waits for processes to be gone, and kills those that stay."""
    for process in psutil.wait_procs(processes, timeout=5)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def known_checkpoint(store: Store, run: str) -> bool:
    """Tells whether Ray Train knows of a checkpoint to go on from."""
    folder = current_folder(store, run)
    return folder is not None and b"checkpoint_2" in store.read(folder, SNAPSHOT)


def lose_a_node(cluster: Cluster, store: Store, run: str, found: dict[str, float]) -> None:
    """Kills a node's raylet, and what it had started, once the run has a checkpoint to go on from.

    First the raylet: what is lost is the machine, not a worker that it could start again.
    """
    deadline = time.monotonic() + SECONDS
    while not known_checkpoint(store, run) and time.monotonic() < deadline:
        time.sleep(0.05)
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes]
    lost, stays = (
        [parent, *parent.children(recursive=True)] for parent in map(psutil.Process, raylets)
    )
    found["workers"] = sum(is_worker(process) for process in [*lost, *stays])
    found["lost"] = time.time()
    for process in lost:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def is_worker(process: psutil.Process) -> bool:
    """Tells whether a process trains."""
    try:
        return "TrainWorker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # an idle one, which Ray has ended
        return False


def main() -> None:
    config = parse_config(TrainingConfig, yaml.safe_load(Path(sys.argv[1]).read_text()), source="-")
    storage = StorageConfig.from_uri(sys.argv[2])
    found: dict[str, float] = {}
    with three_nodes() as cluster:
        killer = threading.Thread(
            target=lose_a_node,
            args=(cluster, storage.store(), config.name, found),
            daemon=True,
        )
        killer.start()
        run_training(config, storage)
        killer.join()
        found["nodes"] = sum(node["Alive"] for node in ray.nodes())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
