"""Actors that trainings have left on the cluster: what Ray does not end by itself, or too late."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.gcs_service_pb2 import KillActorViaGcsRequest
from ray.core.generated.gcs_service_pb2_grpc import ActorInfoGcsServiceStub

# Ray ends all but the detached actors with their driver, and its placement groups. Ray Train has
# one detached actor a training: it waits for the controller to end, but is never told to begin when
# the driver is killed at its start, and holds 200 MB for ever.
DETACHED = ("PlacementGroupCleaner",)
KILL_SECONDS = 10.0


def end_orphans() -> list[str]:
    """Ends the actors of trainings whose driver is gone, on the cluster that this is connected to.

    Returns:
        The classes of the actors that were ended.

    Raises:
        OSError: Ray did not answer.
    """
    actors = ray._private.state.actors(actor_state_name="ALIVE")
    waiting = {name: actor for name, actor in actors.items() if actor["ActorClassName"] in DETACHED}
    if not waiting:
        return []
    alive = {job["JobID"] for job in ray._private.state.state.job_table() if not job["IsDead"]}
    orphans = {name: each for name, each in waiting.items() if each["JobID"] not in alive}
    with init_grpc_channel(ray.get_runtime_context().gcs_address) as channel:
        kill = ActorInfoGcsServiceStub(channel).KillActorViaGcs
        for name in orphans:
            request = KillActorViaGcsRequest(
                actor_id=bytes.fromhex(name), force_kill=True, no_restart=True
            )
            try:
                kill(request, timeout=KILL_SECONDS)
            except grpc.RpcError as error:
                raise OSError(f"actor {name} could not be ended: {error}") from error
    return [each["ActorClassName"] for each in orphans.values()]


@contextmanager
def controllers_end() -> Iterator[None]:
    """Ends the controllers of the trainings within it as it is left, not with this process.

    `fit` leaves a handler of SIGINT behind that holds its controller, 400 MB.
    """
    main = threading.current_thread() is threading.main_thread()  # others set no handlers
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
