"""make bench-train: Ray Train beside a plain loop, two workers beside one, and `import flowkd`.

The same training, of the same global batch, in turns: without Ray, with one worker, with two; each
worker has one thread. The time of a step is the median over a run, without its first ten; each
ratio is of one turn.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.engines import cpu_name
from cluster.local import connect, disconnect, down, up
from cluster.storage import StorageConfig
from cluster.train.launch import run_training
from flowkd.data.importers.photos import PhotosConfig
from flowkd.data.importers.prepare import prepare
from flowkd.flows.glow import GlowConfig
from flowkd.training.config import ScalingConfig, TrainingConfig
from flowkd.training.inputs import load_data
from flowkd.training.logs.metrics import read_log
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import resolve_run
from flowkd.training.train_config import TrainConfig

RESULTS = Path("results/bench-train.json")
TURNS, STEPS, BATCH = 3, 80, 128
EVERY = 10  # steps between the lines of a log, as a run has by default
FLOW = GlowConfig(levels=3, depth=4, width=64)
IMPORTS = 7
AIMS = {"one worker over a plain loop": 1.02, "two workers, times as fast as one": 1.8,
        "import flowkd, s": 1.0}  # fmt: skip
IMPORT = "import time; t = time.perf_counter(); import flowkd; print(time.perf_counter() - t)"


def main() -> None:
    """Measures all and writes `results/bench-train.json`; the cluster that it starts, it ends."""
    torch.set_num_threads(1)
    began = time.monotonic()
    imports = import_seconds()
    with tempfile.TemporaryDirectory(prefix="flowkd-bench-") as folder:
        record = Path(folder, "cluster.json")
        connect(up(cpus=3, record=record).address)
        try:
            turns = train_in_turns(StorageConfig.from_uri(f"{folder}/store"))
        finally:
            disconnect()
            down(record=record)
    found = {
        "imports": imports,
        "turns": turns,
        "seconds": round(time.monotonic() - began),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({**found, "figures": figures(found)}, indent=2))


def import_seconds(count: int = IMPORTS) -> list[float]:
    """Returns what `import flowkd` takes in new processes."""
    command = [sys.executable, "-c", IMPORT]
    return [
        round(float(subprocess.run(command, capture_output=True, check=True, text=True).stdout), 3)
        for _ in range(count)
    ]


def train_in_turns(storage: StorageConfig) -> list[dict[str, float]]:
    """Returns milliseconds of a step by way, for each turn."""
    store = storage.store()
    prepare(PhotosConfig(name="photos", crop=16, train_limit=2000), store)
    turns = []
    for number in range(TURNS):
        before = plain_seconds(training(f"plain-{number}", 1), storage)
        taken = {}
        for workers in (1, 2):
            config = training(f"turn-{number}-{workers}", workers)
            run_training(config, storage)
            marks = [record["time"] for record in read_log(store, config.name) if "loss" in record]
            taken[f"{workers}"] = differences(marks)
        before += plain_seconds(training(f"plain-{number}", 1), storage)
        turn = {"plain": before, **taken}
        turns.append({name: round(1000 * median(times), 2) for name, times in turn.items()})
        print(turns[-1], flush=True)
    return turns


def training(name: str, workers: int) -> TrainingConfig:
    """Returns a run that is validated once, at its end."""
    return TrainingConfig(
        name=name,
        dataset="photos",
        flow=FLOW,
        train=TrainConfig(steps=STEPS, learning_rate=1e-3),
        batch_size=BATCH,
        validate_every=STEPS,
        checkpoint_every=STEPS,
        log_every=EVERY,
        scaling=ScalingConfig(workers=workers),
    )


def plain_seconds(config: TrainingConfig, storage: StorageConfig) -> list[float]:
    """Returns the time between steps of a loop without Ray, logs and checkpoints."""
    store = storage.store()
    resolved = resolve_run(config, store)
    run = prepare_run(resolved, load_data(resolved, store))
    marks = [time.time() for _ in run.steps()]
    return differences(marks[EVERY - 1 :: EVERY])


def differences(marks: list[float]) -> list[float]:
    """Returns the seconds of a step between times that are `EVERY` steps apart; not to the last.

    What comes before the first is left out, and the last comes after validation.
    """
    return [(later - earlier) / EVERY for earlier, later in itertools.pairwise(marks[:-1])]


def figures(found: dict[str, Any]) -> dict[str, list[float]]:
    """Returns each figure that has an aim: its value in each turn."""
    turns = found["turns"]
    return {
        "one worker over a plain loop": [turn["1"] / turn["plain"] for turn in turns],
        "two workers, times as fast as one": [turn["1"] / turn["2"] for turn in turns],
        "import flowkd, s": found["imports"],
    }


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-train.md."""
    rows = []
    for name, values in figures(results).items():
        aim, middle = AIMS[name], median(values)
        at_least = "times as fast" in name
        met = middle >= aim if at_least else middle <= aim
        rows.append(
            f"| {name} | {middle:.3f} ({min(values):.3f} to {max(values):.3f}) | "
            f"{'at least' if at_least else 'at most'} {aim:g} | {'met' if met else 'missed'} |"
        )
    steps = ", ".join(f"{turn['plain']:.0f} ms" for turn in results["turns"])
    return f"""# Ray Train beside a plain loop

`make bench-train`, {results["date"]}, {results["cpu"]}, {results["cores"]} cores, torch
{results["torch"]}; load {results["load"]}; {results["seconds"] / 60:.0f} minutes in all.

One training, of the same global batch of {BATCH} crops of photographs, in turns: a plain loop
without Ray, logs and checkpoints; Ray Train with one worker; with two. Each worker has one thread.
The time is that of a step, the median over a run; the plain loop's: {steps}. Each figure is the
median over the turns and, in brackets, the least and the most. `import flowkd` is timed in new
processes.

| | figure | aim | |
| --- | --- | --- | --- |
{chr(10).join(rows)}
"""


if __name__ == "__main__":
    main()
