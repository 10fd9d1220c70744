"""Runs function calls as Ray tasks of one CPU and one thread each, as many at once as fit."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from cluster.ports import LOOPBACK


class TaskPool:
    """Runs calls as they are submitted and hands them back as they finish.

    On a cluster all are given to Ray at once, so that it may grow; on one machine no more run than
    it has cores, however many CPUs its Ray claims.

    Args:
        workers: Number of calls that run at once at most; default as many as fit.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._at_once = workers or cores_of_this_machine()
        self._waiting: deque[tuple[str, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._running: dict[ray.ObjectRef, str] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Adds a call; its function and arguments must pickle."""
        self._waiting.append((key, function, arguments))
        self._fill()

    def next(self) -> tuple[str, Any]:
        """Waits for a call to finish; returns its key and what it returned, or its exception."""
        [done], _ = ray.wait(list(self._running), num_returns=1)
        key = self._running.pop(done)
        self._fill()
        try:
            return key, ray.get(done)
        except RayTaskError as error:
            return key, error.cause
        except RayError as error:  # its worker died, again and again
            return key, error

    def _fill(self) -> None:
        while self._waiting and (not self._at_once or len(self._running) < self._at_once):
            key, function, arguments = self._waiting.popleft()
            self._running[_call.options(name=key).remote(function, *arguments)] = key


@ray.remote(num_cpus=1, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    torch.set_num_threads(1)
    return function(*arguments)


def cores_of_this_machine() -> int | None:
    """Returns the number of cores, if Ray's cluster is this machine alone; else None."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) > 1 or nodes[0]["NodeManagerAddress"] != LOOPBACK:
        return None
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
