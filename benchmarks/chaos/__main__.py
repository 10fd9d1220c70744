"""`make chaos`: injects faults into a real cluster with real jobs, and counts what they cost.

`python -m benchmarks.chaos --minutes 15 --seed 0 [--only kill-head,...] [--store disk|s3] [--add]`:
each fault meets one of the stores, which takes about 20 minutes, and the other one too if there are
minutes left. Every job holds a lock while it lives and writes to a ledger, so that what is lost and
what runs twice is counted from outside of flowkd.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.chaos import jobs
from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.page import machine, table
from benchmarks.chaos.plan import make_plan
from benchmarks.chaos.rounds import Row, run_round
from benchmarks.chaos.site import STORES, Site
from benchmarks.chaos.tracebacks import last_line

RESULTS = Path("results/chaos.json")


def main() -> int:
    """Runs the plan; returns 0 if nothing was lost, doubled, wrong or traced back, else 1."""
    asked = _asked()
    chosen = {
        name: [store for store in fault.stores if asked.store in (None, store)]
        for name, fault in FAULTS.items()
        if not asked.only or name in asked.only
    }
    plan = make_plan({name: stores for name, stores in chosen.items() if stores}, asked.seed)
    began = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="flowkd-chaos-") as folder, Site(Path(folder)) as site:
        jobs.furnish(site.stores["disk"])
        jobs.copy_all(site.stores["disk"], site.stores["s3"])
        for number, (fault, store) in enumerate(plan):
            if number >= len(chosen) and time.monotonic() - began > 60 * asked.minutes:
                break
            rows.append(run_round(site, fault, FAULTS[fault].inject, store, number, asked.seed))
            _say(rows[-1])
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if asked.add else {}
    found: dict[str, Any] = {
        "date": date.today().isoformat(),
        "seed": asked.seed,
        "minutes": round((time.monotonic() - began) / 60 + before.get("minutes", 0), 1),
        "machine": machine(),
        "load": round(os.getloadavg()[2]),  # processes that ran or waited for a core, at the end
        "python": platform.python_version(),
        "rows": [
            *before.get("rows", []),
            *({**asdict(row), "about": FAULTS[row.fault].about} for row in rows),
        ],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found))
    print(f"results   {RESULTS.resolve()}")
    return 0 if all(row.clean for row in rows) else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument(
        "--minutes", type=float, default=15, help="begin no second round after these"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], metavar="FAULT,..")
    parser.add_argument("--store", choices=STORES, default=None, help="default both")
    parser.add_argument("--add", action="store_true", help="to the rows of the last results")
    asked = parser.parse_args()
    unknown = [name for name in asked.only if name not in FAULTS]
    if unknown:
        parser.error(f"no fault {unknown[0]!r}; expected some of {', '.join(FAULTS)}")
    return asked


def _say(row: Row) -> None:
    counts = f"{len(row.lost)} lost, {len(row.doubled)} doubled, {len(row.wrong)} wrong"
    print(
        f"{row.fault} on {row.store}: {row.jobs} jobs, {counts}, {len(row.tracebacks)} tracebacks, "
        f"{row.seconds:.0f} s{'; not injected: ' + row.note if row.note else ''}",
        flush=True,
    )
    for kind, found in (("lost", row.lost), ("doubled", row.doubled), ("wrong", row.wrong)):
        for job, text in found.items():
            print(f"  {kind}: {job}: {text}", flush=True)
    for traceback in row.tracebacks:
        print(f"  traceback: {last_line(traceback)[:300]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
