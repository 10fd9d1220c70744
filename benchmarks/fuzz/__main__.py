"""`make fuzz`: throws changed inputs at the product and keeps those that it takes wrongly.

`python -m benchmarks.fuzz [TARGET ...]`: each input goes to a process of its own kind, which is
watched: what raises another error than one for users, gives a message that is unfit for them,
accepts what it must not, ends the process, takes too long or too much memory is a fault. The input
is kept under tests/cases/, where tests/benchmarks/test_fuzz.py tries it again from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz.targets import Target, targets
from benchmarks.fuzz.watched import Watched
from flowkd.data.seeds import derive_seed

CASES = Path(__file__).resolve().parents[2] / "tests" / "cases"
RESULTS = Path("results/fuzz.json")


def inputs(name: str, target: Target, rounds: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields changed inputs, `rounds` of each seed."""
    for suffix, data in target.seeds.items():
        generator = np.random.default_rng(derive_seed(seed, f"fuzz/{name}/{suffix}"))
        for _ in range(rounds):
            yield suffix, target.mutate(suffix, data, generator)


def fuzz(name: str, rounds: int, seed: int) -> dict[str, Any]:
    """Throws inputs at one target; returns how many, and the faults by the file of their case."""
    target, watched, count = targets()[name], Watched(name), 0
    faults: dict[str, str] = {}
    began = time.monotonic()
    try:
        for suffix, data in inputs(name, target, rounds, seed):
            count += 1
            fault = watched.judge(suffix, data)
            if fault is not None and kind_of(fault) not in map(kind_of, faults.values()):
                faults[keep(name, suffix, data)] = fault
                print(f"{name}: {fault}", flush=True)
    finally:
        watched.close()
    seconds = round(time.monotonic() - began, 1)
    return {"inputs": count, "seconds": seconds, "faults": faults}


def kind_of(fault: str) -> str:
    """Returns a fault without what differs between two inputs that find the same one."""
    return re.sub(r"0x[0-9a-f]+|\d[\d,.]*|'[^']*'|\"[^\"]*\"", "#", fault)[:80]


def keep(name: str, suffix: str, data: bytes) -> str:
    """Writes an input as a case; returns its path below tests/cases."""
    path = CASES / name / f"{hashlib.sha256(data).hexdigest()[:12]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path.relative_to(CASES))


def main() -> int:
    """Throws inputs at the chosen targets; returns 1 if a fault was found, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz")
    known = ["tables", "pictures", "manifests", "requests"]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: {', '.join(known)}")
    parser.add_argument("--rounds", type=int, default=200, help="changed inputs for each seed")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    unknown = [name for name in asked.targets if name not in known]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; expected some of {', '.join(known)}")
    found = {}
    for name in asked.targets or known:
        found[name] = fuzz(name, asked.rounds, asked.seed)
        print(f"{name}: {found[name]['inputs']} inputs, {len(found[name]['faults'])} faults")
    made = {"date": date.today().isoformat(), "rounds": asked.rounds, "seed": asked.seed}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**made, "targets": found}, indent=2), encoding="utf-8")
    print(f"results   {RESULTS.resolve()}")
    return 1 if any(each["faults"] for each in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
