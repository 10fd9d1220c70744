"""What runs for long on the cluster: training workers, the queue, serving. Imports flowkd only."""

import os

LOOPBACK = "127.0.0.1"


def ray_environment() -> dict[str, str]:
    """Returns what a process that uses the local cluster sets before it imports Ray."""
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",  # all listens on loopback
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray takes the network's address
        "OMP_NUM_THREADS": "1",
    }
    return {**defaults, **os.environ}


# Ray reads its environment once, when it is imported; this package is the only way to it.
# Each report of Ray Train costs one health check interval: 2 s by default. A much shorter one takes
# the CPU from the workers: RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=0.1 make bench shows how much.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
if os.environ.get("RAY_ADDRESS", LOOPBACK).startswith(LOOPBACK):
    os.environ.update(ray_environment())
