"""make bench-serve: how long requests wait, and how quickly others are refused, at several loads.

One replica of one core on a cluster of its own; the client is a process of the same machine. A
request draws 64 samples of a small Glow. The capacity is what 32 clients in turns get answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import serve

from benchmarks.http_load import Client, Reply, post
from cluster.local import connect, disconnect, down, up
from cluster.ports import free_ports
from cluster.serve.config import ServingConfig
from cluster.serve.deployment import deploy
from cluster.storage import StorageConfig
from flowkd.flows.build import build_flow
from flowkd.flows.glow import GlowConfig
from flowkd.registry.artifacts import publish_artifact
from flowkd.registry.card import Lineage
from flowkd.store.store import Store

RESULTS = Path("results/bench-serve.json")
FLOW = GlowConfig(event_shape=(3, 8, 8), levels=2, depth=3, width=32, mean=128.0, scale=256.0)
REQUEST = post("/v1/models/photos/sample", b'{"n": 64, "seed": 1}', Accept="application/x-npy")
LOADS = (0.5, 1.0, 2.0, 10.0)
SECONDS = 6.0
CLIENTS = 32
SLOW = 200


def main() -> None:
    """Writes `results/bench-serve.json`."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "cluster.json")
        connect(up(cpus=4, record=record).address)
        try:
            outcome = asyncio.run(measure(*_deploy(folder)))
        finally:
            serve.shutdown()
            disconnect()
            down(record=record)
    outcome |= {
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "load_average": round(os.getloadavg()[1], 1),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(outcome, indent=2))


def _deploy(folder: str) -> tuple[str, int]:
    """Serves the flow, and returns host and port."""
    storage = StorageConfig(uri=f"{folder}/store")
    version = publish_artifact(
        Store(storage.uri), "photos", build_flow(FLOW), FLOW, lineage=Lineage(bins=256)
    )
    (port,) = free_ports(1)
    models = {"photos": f"models/photos@{version}"}
    deploy(ServingConfig(models=models, port=port), storage)
    return "127.0.0.1", port


async def measure(host: str, port: int) -> dict[str, Any]:
    """Returns the figures at each load, and those beside slow connections."""
    client = Client(host, port)
    await client.in_turns(REQUEST, CLIENTS, 3)  # warm
    answered = [r for r in await client.in_turns(REQUEST, CLIENTS, SECONDS / 2) if r.status == 200]
    capacity = len(answered) / (SECONDS / 2)
    outcome: dict[str, Any] = {
        "capacity_per_second": round(capacity, 1),
        "seconds_at_each_load": SECONDS,
        "alone": figures(await client.in_turns(REQUEST, 1, SECONDS / 3)),
    }
    outcome["loads"] = {}
    for load in LOADS:
        replies = await client.at_rate(REQUEST, load * capacity, SECONDS)
        outcome["loads"][f"{load:g}"] = figures(replies)
        await asyncio.sleep(1)
    slow = [asyncio.create_task(_send_slowly(host, port)) for _ in range(SLOW)]
    await asyncio.sleep(1)
    outcome["beside_slow"] = figures(await client.in_turns(REQUEST, 1, SECONDS / 3))
    outcome["slow_connections"] = SLOW
    for each in slow:
        each.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    client.close()
    return outcome


async def _send_slowly(host: str, port: int) -> None:
    """Sends a request whose body comes one byte a second."""
    _, writer = await asyncio.open_connection(host, port)
    head, _, body = REQUEST.partition(b"\r\n\r\n")
    try:
        writer.write(head + b"\r\n\r\n")
        for byte in body:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)
    finally:
        writer.close()


def figures(replies: Sequence[Reply]) -> dict[str, Any]:
    """Returns how many were accepted, refused and lost, and the quantiles of their seconds."""
    accepted = [reply.seconds for reply in replies if reply.status == 200]
    refused = [reply.seconds for reply in replies if reply.status in (429, 503)]
    return {
        "sent": len(replies),
        "accepted": _quantiles(accepted),
        "refused": _quantiles(refused),
        "retry_after": sum(reply.retry_after for reply in replies),
        "lost": len(replies) - len(accepted) - len(refused),
    }


def _quantiles(seconds: Sequence[float]) -> dict[str, Any]:
    if not seconds:
        return {"count": 0}
    values = np.quantile(seconds, [0.5, 0.95, 0.99])
    named = zip(("median", "95%", "99%"), values, strict=True)
    return {"count": len(seconds), **{name: round(float(value), 4) for name, value in named}}


def _processor() -> str:
    """Returns the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
