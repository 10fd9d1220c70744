"""Starts the queue's dispatcher on the cluster of RAY_ADDRESS, or tells of the one that runs.

python -m jobs.dispatcher --store URI [--config FILE] [--name ACTOR]
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import ray

from cluster.exits import exits
from cluster.local import connect
from cluster.queue.config import QueueConfig
from cluster.queue.service import name_of, start
from cluster.storage import StorageConfig
from flowkd.config import load_config
from jobs.kinds import KINDS, command_of


def with_kinds(config: QueueConfig) -> QueueConfig:
    """Returns a queue's config that has the commands of flowkd's kinds of jobs, too."""
    ours = {kind: command_of(kind) for kind in KINDS}
    return config.model_copy(update={"commands": {**ours, **config.commands}})


def main() -> None:
    """Starts the dispatcher of the command line."""
    parser = argparse.ArgumentParser(description="Start the queue's dispatcher.")
    parser.add_argument("--store", default=None)
    parser.add_argument("--config", type=Path, default=None)
    parser.add_argument("--name", default=None, help="default: one of the store's own")
    asked = parser.parse_args()
    config = load_config(QueueConfig, asked.config) if asked.config else QueueConfig()
    connect(os.environ.get("RAY_ADDRESS", "auto"))
    address = os.environ.get("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265")
    uri = StorageConfig.from_uri(asked.store).uri
    name = asked.name or name_of(uri)
    status = start(uri, with_kinds(config), address, name).status.remote()
    print(json.dumps(ray.get(status, timeout=60)))


if __name__ == "__main__":
    with exits():
        main()
