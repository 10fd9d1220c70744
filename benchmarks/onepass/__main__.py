"""make bench-onepass: students of one pass, of teachers that sample column by column.

For each data set an autoregressive spline flow is the teacher; its default student, at most a
quarter of its parameters, is trained on data alone, at its own best rate and to its own plateau,
and distilled with nothing set. Validation chooses; the test rows are looked at once. It takes
hours: each training is kept when it is done, and the next call goes on where this one ended.
`python -m benchmarks.onepass [--only casp,known] [--seeds 1]` is a part of it, and with
`--steps 40000` the most steps of a training are others, whose results have a file of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.chaos.page import machine
from benchmarks.onepass.datasets import DATA
from benchmarks.onepass.training import RECIPES, Job, outcome

RESULTS, KEPT = Path("results"), Path("results/onepass")
STEPS = 12_000


def main() -> int:
    """Measures what is asked for and not there yet, and writes the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onepass")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(DATA))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="the most of a training")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time")
    parser.add_argument("--recipes", action="store_true", help="also what else it could learn from")
    parser.add_argument("--anew", action="store_true", help="forget what earlier calls found")
    asked = parser.parse_args()
    kept = KEPT / str(asked.steps)
    if asked.anew:
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        for jobs in rounds(asked.only, asked.seeds, asked.recipes):
            found = partial(outcome, steps=asked.steps, kept=kept)
            for done in as_completed(pool.submit(found, job) for job in jobs):
                print(done.result(), flush=True)
                write(asked.steps, kept)
    print(f"results   {results_of(asked.steps).resolve()}")
    return 0


def rounds(names: list[str], seeds: int, recipes: bool) -> list[list[Job]]:
    """Returns jobs, each list of which needs what those before it have made."""
    students = [
        (name, role, seed)
        for seed in range(seeds)
        for name in names
        for role in ("plain", "distilled")
    ]
    others = [(names[0], role, 0) for role in list(RECIPES)[2:]] if recipes else []
    return [
        [(name, "teacher", 0) for name in names],
        students,
        [(name, "sampling", 0) for name in names],
        others,
    ]


def results_of(steps: int) -> Path:
    """Returns the file of the results of so many steps: trainings of one length are one table."""
    return RESULTS / f"bench-onepass{'' if steps == STEPS else f'-{steps}'}.json"


def write(steps: int, kept: Path) -> None:
    """Writes what all calls with as many steps have found into the results."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in kept.glob("*.json")]
    rows.sort(key=lambda row: (row["seed"], row["role"]))
    data: dict[str, dict[str, Any]] = {}
    for row in rows:
        found = data.setdefault(row.pop("name"), {"students": []})
        if row["role"] in ("teacher", "sampling"):
            found[row.pop("role")] = row
        else:
            found["students"].append(row)
    results = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[2]),
        "steps": steps,
        "data": {name: found for name, found in data.items() if "teacher" in found},
    }
    results_of(steps).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
