"""`flowkd up`, `down`, `status`: a cluster of this machine, with the queue's dispatcher."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.local import connect, disconnect, down, ray_environment, up
from cluster.local_record import LocalCluster, find_cluster
from cluster.queue.events import ACTIVE
from cluster.queue.records import QueueRecords
from flowkd.errors import FlowkdError
from flowkd.store.store import Store
from jobs.cli.console import Json, StoreUri, done, hint, opened_store, say_facts

START_SECONDS = 120
JOB = "--working-dir . -- python -m jobs.distill --config FILE"


def start_cluster(
    cpus: Annotated[int | None, typer.Option(help="Logical CPUs; default the machine's.")] = None,
    queue: Annotated[bool, typer.Option(help="Start the queue's dispatcher, too.")] = True,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Start Ray on this machine, on loopback, and the dispatcher; what runs already stays."""
    with opened_store(store, "write") as opened:
        cluster = up(cpus=cpus, environment={"FLOWKD_STORE": opened.uri})
        if queue:
            _start_dispatcher(cluster, opened)
        keep_from_ray(opened)
        say_facts(_facts(cluster, opened), as_json)
        if not as_json:
            hint('in this shell:  eval "$(flowkd env)"')
            hint(f"then:           {submit_line(cluster)}")


def stop_cluster() -> None:
    """Stop what `up` started, and all that runs on it; the queue's records stay."""
    cluster = find_cluster()
    stopped = cluster is not None and down(record=Path(cluster.record))
    done("Ray is down" if stopped else "no cluster was up")


def show_status(store: StoreUri = None, as_json: Json = False) -> None:
    """Show the cluster of this machine, its dispatcher and the store."""
    with opened_store(store, "write") as opened:  # `up` makes it
        cluster = find_cluster()
        if cluster is None:
            say_facts({"cluster": "down", "store": str(opened)}, as_json)
            return
        say_facts(_facts(cluster, opened), as_json)


def show_environment(store: StoreUri = None) -> None:
    """Print the variables by which Ray's own commands reach the cluster: eval "$(flowkd env)"."""
    with opened_store(store, "write") as opened:  # whoever submits a job makes it
        cluster = find_cluster()
        if cluster is None:
            raise FlowkdError("no cluster is up; `flowkd up` starts one")
        for name, value in {**cluster.environment(), "FLOWKD_STORE": opened.uri}.items():
            print(f"export {name}={shlex.quote(value)}")
        keep_from_ray(opened)
        print(f"# {submit_line(cluster)}")


def submit_line(cluster: LocalCluster) -> str:
    """Returns what submits a job to a cluster, whichever others run on this machine."""
    return f"ray job submit --address {cluster.dashboard} {JOB}"


def keep_from_ray(store: Store) -> None:
    """Keeps a store of a folder out of what `ray job submit --working-dir` takes along."""
    if store.is_local:
        folder = Path(store.path())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".rayignore").write_text("*\n", encoding="utf-8")


def _start_dispatcher(cluster: LocalCluster, store: Store) -> None:
    """Starts the dispatcher of a store, of which each has one of its own."""
    try:
        started = subprocess.run(
            [sys.executable, "-m", "jobs.dispatcher", "--store", store.uri],
            capture_output=True,
            text=True,
            env={**ray_environment(), **cluster.environment()},
            timeout=START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FlowkdError(
            f"the dispatcher did not start within {START_SECONDS} s: see whether the machine is "
            f"overloaded, and call `flowkd up` again"
        ) from error
    if started.returncode:
        raise FlowkdError(f"the dispatcher did not start:\n{started.stderr[-2000:]}")


def _facts(cluster: LocalCluster, store: Store) -> dict[str, Any]:
    """Returns what people ask of a cluster; what its dispatcher sees comes from the store."""
    table = QueueRecords(store).table()
    states = [row.state for row in table.rows] if table else []
    return {
        "cluster": "up",
        "address": cluster.address,
        "dashboard": cluster.dashboard,
        **_resources(cluster),
        "store": str(store),
        "queue": {
            "dispatcher": table.dispatcher if table else None,
            "looked_seconds_ago": round(max(0.0, time.time() - table.time), 1) if table else None,
            "running": sum(state in ACTIVE for state in states),
            "waiting": states.count("queued"),
        },
    }


def _resources(cluster: LocalCluster) -> dict[str, Any]:
    import ray

    connect(cluster.address)
    try:
        total, left = ray.cluster_resources(), ray.available_resources()
        return {
            "nodes": sum(node["Alive"] for node in ray.nodes()),
            "resources_in_use": {
                name: f"{total[name] - left.get(name, 0):g} of {total[name]:g}"
                for name in ("CPU", "GPU")
                if name in total
            },
        }
    finally:
        disconnect()
