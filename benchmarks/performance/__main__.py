"""make bench-all: results/bench-all.json, cell by cell; about a quarter of an hour on 2 cores."""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.engines import cpu_name
from benchmarks.performance.cells import all_cells, chosen, quick_cells
from benchmarks.performance.measure import CELL_SECONDS, measure
from benchmarks.performance.peers import versions

RESULTS = Path("results/bench-all.json")
QUICK_SECONDS = 0.5
Measured = Callable[..., dict[str, Any]]


def main() -> None:
    """Measures the cells that are asked for, and adds them to the results."""
    run(__doc__, RESULTS, all_cells, quick_cells, measure, in_short)
    print("`make docs` writes docs/results/performance.md")


def run(
    about: str | None,
    path: Path,
    every: Callable[[], list[Any]],
    quick: Callable[[], list[Any]],
    measured: Measured,
    told: Callable[[dict[str, Any]], str],
) -> None:
    """Measures the cells that the command line asks for."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--only", action="append", default=[], help="part of a cell's name")
    parser.add_argument("--quick", action="store_true", help="some small cells, a minute")
    parser.add_argument("--results", type=Path, default=path)
    asked = parser.parse_args()
    try:
        cells = chosen(quick() if asked.quick else every(), asked.only)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    seconds = QUICK_SECONDS if asked.quick else CELL_SECONDS
    measure_all(cells, asked.results, partial(measured, seconds=seconds), told)


def measure_all(
    cells: list[Any], path: Path, measured: Measured, told: Callable[[dict[str, Any]], str]
) -> None:
    """Measures cells, those of a flow and a number of threads in one process each."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flowkd-bench-") as folder:
        os.environ.setdefault("FLOWKD_CACHE", folder)  # graphs are built once for all
        groups = itertools.groupby(cells, key=lambda cell: (cell.case, cell.shape, cell.threads))
        for _, group in groups:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                some = list(group)
                for cell, found in zip(some, pool.imap(measured, some), strict=True):
                    found["load"] = round(os.getloadavg()[0], 1)
                    merge(path, {cell.key: {**vars(cell), **found}})
                    passed = time.monotonic() - began
                    print(f"{passed:5.0f} s  {cell.key}: {told(found)}", flush=True)


def merge(path: Path, cells: dict[str, dict[str, Any]]) -> None:
    """Adds cells to the results; those of another machine or other versions go."""
    about = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "onnxruntime": __import__("onnxruntime").__version__,
        "peers": versions(),
    }
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    before = known["cells"] if known.get("about") == about else {}
    made = {"about": about, "date": date.today().isoformat(), "cells": {**before, **cells}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def in_short(found: dict[str, Any]) -> str:
    """Returns a cell in a line."""
    return "; ".join(
        f"{action} {each['over_floor']['flowkd'][1]:.2f} of the floor, {each['ahead'][1]:.2f}x "
        f"{each['fastest_peer']}"
        for action, each in found["actions"].items()
    )


if __name__ == "__main__":
    main()
