"""Runs the dispatcher as a service of a Ray cluster: one named actor, restarted when it dies."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.queue.config import QueueConfig
from cluster.queue.dispatcher import Dispatcher
from cluster.queue.ray_jobs import RayJobs
from cluster.queue.records import QueueRecords
from cluster.queue.webhooks import Webhooks
from cluster.storage import StorageConfig
from flowkd.store.locks import creates_are_atomic

NAME, NAMESPACE = "flowkd-dispatcher", "flowkd"
RETRY_SECONDS = 5.0  # seconds for each of the store's operations: the next tick tries again
MAX_BACKOFF = 5.0  # seconds between two attempts to go on after an error


class DispatcherService:
    """The actor: a dispatcher that ticks while it lives; errors are printed and tried again.

    Args:
        uri: URI of the store.
        address: URL of the job server.
        values: A dumped QueueConfig.
    """

    def __init__(self, uri: str, address: str, values: dict[str, object]) -> None:
        # Ray's client asks this first; the cluster may have been started from within another's job.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        config = QueueConfig.model_validate(values)
        storage = StorageConfig.from_uri(uri).model_copy(update={"retry_seconds": RETRY_SECONDS})
        self._address, self._store, self._config = address, storage.store(), config
        self._dispatcher: Dispatcher | None = None
        self._ticks = 0
        threading.Thread(target=self._run, daemon=True).start()

    def status(self) -> dict[str, object]:
        """Returns the dispatcher's name, its process and how often it has looked."""
        name = self._dispatcher.name if self._dispatcher else ""
        return {"name": name, "pid": os.getpid(), "ticks": self._ticks}

    def _run(self) -> None:
        pause = self._config.poll_interval
        while True:
            try:
                self._dispatcher = self._dispatcher or self._begin()
                self._dispatcher.tick()
                self._ticks += 1
                pause = self._config.poll_interval
            except Exception as error:  # a store or a job server that is away for a while
                print(f"dispatcher: {type(error).__name__}: {error}; going on", flush=True)
                pause = min(2 * pause, MAX_BACKOFF)
            time.sleep(pause)

    def _begin(self) -> Dispatcher:
        """Returns a dispatcher, once store and job server answer."""
        if not creates_are_atomic(self._store):
            print(
                f"dispatcher: {self._store.uri} lets several writers create one object; be sure "
                "that no other dispatcher uses it: two might start a job twice",
                flush=True,
            )
        jobs = RayJobs(self._address, self._store, self._config)
        webhooks = Webhooks(self._config.private_webhooks)
        return Dispatcher(QueueRecords(self._store), jobs, self._config, webhooks.tell)


def start(uri: str, config: QueueConfig, address: str, name: str) -> ray.actor.ActorHandle:
    """Starts the dispatcher on this node of the cluster, or returns the one that runs.

    Args:
        uri: URI of the store.
        config: How the queue is run.
        address: URL of the job server, as the cluster's nodes reach it.
        name: Name of the actor; one store has one dispatcher.
    """
    here = ray.get_runtime_context().get_node_id()
    actor = ray.remote(DispatcherService).options(
        name=name,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        max_restarts=-1,
        max_concurrency=4,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True),
    )
    return actor.remote(uri, address, config.model_dump(mode="json"))


def name_of(uri: str) -> str:
    """Returns the name of the dispatcher of a store."""
    return f"{NAME}-{hashlib.sha256(uri.encode()).hexdigest()[:12]}"
