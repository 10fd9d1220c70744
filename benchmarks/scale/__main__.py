"""make bench-scale: results/bench-scale.json; some minutes, without Ray."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import date
from pathlib import Path

from benchmarks.chaos.page import machine
from benchmarks.scale import admission, models, queue, shards, sites

RESULTS = Path("results/bench-scale.json")


def main() -> None:
    """Measures all and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=1000)
    asked = parser.parse_args()
    found = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "jobs": asked.jobs,
        "versions": asked.versions,
        "admission": admission.measure(asked.nodes),
        "shards": shards.measure(),
    }
    print(found, flush=True)
    with tempfile.TemporaryDirectory(prefix="flowkd-scale-") as folder:
        for name, store, fill in sites.stores(Path(folder)):
            few = name != "disk"  # the server of the tests keeps all in memory, slowly
            found[name] = {
                "queue": queue.measure(store, fill, asked.jobs // (50 if few else 1)),
                "models": models.measure(store, fill, asked.versions // (10 if few else 1)),
            }
            print(name, found[name], flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2), encoding="utf-8")
        print(
            f"{RESULTS}: `make docs` writes docs/results/scale.md; removing the stores", flush=True
        )


if __name__ == "__main__":
    main()
