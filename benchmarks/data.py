"""make bench-data: rows a second and memory of loading data, from disk and S3.

Rows are resident or streamed. The pictures are crops of the photos with noise in their low bits,
so that they compress as photographs do. Each case runs in a process of its own, so that its peak of
memory is its own. They are compared with the rows a second that the quickstart's student trains on
when its batches are in memory already.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flowkd.config import load_config
from flowkd.data.chunked_import import ImportChunk, import_chunks
from flowkd.data.importers.photos import PhotosConfig, photographs, tiles
from flowkd.data.importers.pictures import grid_crops
from flowkd.data.loader import BatchLoader
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import StoredRows
from flowkd.data.rows import Examples
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.distillation.losses import MaximumLikelihood
from flowkd.flows.build import build_flow
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.loop import AveragedFlow, make_optimizer, train
from jobs.workflow.config import WorkflowConfig, stages
from tests.support.servers.swift import SwiftServer

RESULTS = Path("results/bench-data.json")
QUICKSTART = Path("jobs/configs/quickstart/quickstart.yaml")
SHARD_BYTES = 2**20
STREAM_GIB = 0.035  # a little more than two shards in each of 16 groups
SECONDS = 10.0
# Rows of each data set: the second is ten times the first.
SIZES = {
    "8x8": {"small": 400_000, "large": 4_000_000},
    "32x32": {"small": 25_000, "large": 250_000},
}
SIDES = {"8x8": 8, "32x32": 32}
AIM = 5.0


def main() -> None:
    """Measures all cases and writes `results/bench-data.json`."""
    torch.set_num_threads(1)
    outcome: dict[str, Any] = {"student_rows_per_second": student_rate()}
    with (
        places() as stores,
        multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool,
    ):
        cases = []
        for place, uri in stores.items():
            for shape in SIZES:
                for size in SIZES[shape]:
                    pool.apply(write, (uri, shape, size))
                    for kind, limit in (("resident", None), ("streamed", STREAM_GIB)):
                        if size == "small" or kind == "streamed":
                            found = pool.apply(measure, (uri, shape, size, limit))
                            cases.append({"place": place, "pictures": shape, "kind": kind, **found})
                            print(cases[-1], flush=True)
                    Store(uri).remove("datasets", f"{shape}-{size}")
    outcome["cases"] = cases
    outcome["machine"] = f"1 thread and its readers, {platform.machine()}"
    outcome["torch"] = torch.__version__
    outcome["date"] = date.today().isoformat()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")


@contextmanager
def places() -> Iterator[dict[str, str]]:
    """Yields a folder and a bucket of a real S3 server, by name."""
    with tempfile.TemporaryDirectory() as folder, SwiftServer(Path(folder, "swift")) as server:
        os.environ.update(server.environment())
        yield {"disk": str(Path(folder, "store")), "S3": server.uri("bench")}


def write(uri: str, shape: str, size: str) -> None:
    """Writes a data set of so many pictures, part by part."""
    side, rows, step = SIDES[shape], SIZES[shape][size], 4_000_000 // SIDES[shape] ** 2
    crops = np.concatenate(
        [grid_crops(tile, side, side // 2) for _, tile in tiles(photographs(), 0)]
    )
    few = SplitArrays(crops[:100])

    def part(start: int) -> ImportChunk:
        def read() -> dict[str, SplitArrays]:
            generator = np.random.default_rng(start)
            x = crops[generator.integers(0, len(crops), min(step, rows - start))]
            arrays = SplitArrays(x ^ generator.integers(0, 4, x.shape, np.uint8))
            return {"train": arrays, **({} if start else {"val": few, "test": few})}

        return ImportChunk(str(start), read)

    store = Store(uri)
    about = write_dataset(
        store, f"{shape}-{size}", dict.fromkeys(("train", "val", "test"), few),
        kind="image", bins=256, source="photos", config=PhotosConfig().model_dump(mode="json"),
    )  # fmt: skip
    parts = (part(start) for start in range(0, rows, step))
    import_chunks(store, about, parts, fingerprint="", shard_bytes=SHARD_BYTES)


def measure(uri: str, shape: str, size: str, limit: float | None) -> dict[str, Any]:
    """Reads batches for some seconds, or a whole epoch if that is longer."""
    torch.set_num_threads(1)
    store = Store(uri)
    manifest = read_manifest(store, f"{shape}-{size}")
    size_of_batch = student().batch_size
    StoredRows(store, manifest, "val").read_all()  # opens the filesystem, loads what it needs
    forget_peak()
    before = peak_mebibytes()
    began = time.perf_counter()
    rows = StoredRows(store, manifest, "train")
    batches = BatchLoader(rows, batch_size=size_of_batch, seed=0, bins=256, memory_gib=limit)
    batches.batch(0)
    first = time.perf_counter()
    step = 1
    while step * size_of_batch < len(rows) or time.perf_counter() - first < SECONDS:
        batches.batch(step)
        step += 1
    seconds = time.perf_counter() - first
    return {
        "rows": len(rows),
        "mebibytes": round(len(rows) * rows.row_bytes / 2**20, 1),
        "seconds_to_first_batch": round(first - began, 3),
        "rows_per_second": round((step - 1) * size_of_batch / seconds),
        "peak_mebibytes": round(peak_mebibytes() - before, 1),
    }


def student() -> TrainingConfig:
    """Returns the config of the quickstart's plain student."""
    _, config = stages(load_config(WorkflowConfig, QUICKSTART))["plain"]
    assert isinstance(config, TrainingConfig)
    return config


def student_rate() -> float:
    """Returns how many rows a second the quickstart's plain student trains on, data aside."""
    config = student()
    assert config.flow is not None
    flow_config = config.flow.model_copy(
        update={"event_shape": (3, 8, 8), "mean": 128.0, "scale": 256.0}
    )
    flow = build_flow(flow_config, seed=0)
    x = torch.randint(0, 256, (config.batch_size, 3, 8, 8)).to(torch.uint8)
    batch = BatchLoader(Examples(x), batch_size=len(x), seed=0, bins=256).batch(0)
    flow.initialize(batch.x)

    class Same:
        def batch(self, step: int) -> Any:
            return batch

    steps = train(
        MaximumLikelihood(flow), Same(), make_optimizer(flow, config.train), config.train,
        average=AveragedFlow(flow, config.train.ema_decay),
    )  # fmt: skip
    seconds = [result.seconds for _, result in zip(range(200), steps, strict=False)]
    return round(config.batch_size / float(np.median(seconds[20:])))


def forget_peak() -> None:
    """Lets the peak of this process's memory begin again at what it holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mebibytes() -> float:
    """Returns the most memory that this process has held since its peak was forgotten."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-data.md."""
    student = results["student_rows_per_second"]
    rows = []
    for case in results["cases"]:
        rate = case["rows_per_second"]
        times = f"{rate / student:.0f}x" if case["pictures"] == "8x8" else ""
        rows.append(
            f"| {case['pictures']} | {case['place']} | {case['kind']} | {case['rows']:,} "
            f"| {case['mebibytes']:,.0f} | {rate:,} | {times} "
            f"| {case['seconds_to_first_batch']:.2f} | {case['peak_mebibytes']:,.0f} |"
        )
    return f"""# How fast data arrive

`make bench-data`, {results["date"]}, torch {results["torch"]}, {results["machine"]}.

Batches of 128 pictures with their noise, as training asks for them, for at least {SECONDS:.0f} s
and one epoch. *disk* is a local folder, *S3* an OpenStack Swift on the same machine. *streamed*
keeps at most {STREAM_GIB * 1024:.0f} MiB of rows, in shards of 1 MiB. The quickstart's plain
student trains on {student:,} rows a second, data aside: the rate should be at least {AIM:.0f}
times that. *peak* is the memory that the process took beyond what it had before it read.

| pictures | store | kind | rows | MiB | rows/s | of the student | s to the first batch | peak MiB |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""


if __name__ == "__main__":
    main()
