"""make bench-cli: CPU seconds of commands on a small store, beside those of Python alone."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path("results/bench-cli.json")
ROUNDS = 5
PYTHON = "python -c pass"
FLOWKD = (sys.executable, "-m", "jobs.cli.main")
COMMANDS = (
    "--help",
    "--version",
    "queue --help",
    "submit --help",
    "queue --once",
    "show none",
    "status",
    "runs list",
    "models list",
    "data list",
    "store check",
    "config schema run",
    "doctor",
)
AIMS = {"--help": 0.3, "queue --once": 0.8}
FAILS = frozenset(["show none", "doctor"])  # with an answer all the same


def main() -> None:
    """Measures all commands in turn, several times, and writes `results/bench-cli.json`."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "FLOWKD_STORE": folder}
        environment["XDG_STATE_HOME"] = folder
        calls: dict[str, tuple[str, ...]] = {PYTHON: (sys.executable, "-c", "pass")}
        calls |= {f"flowkd {words}": (*FLOWKD, *words.split()) for words in COMMANDS}
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS + 1):
            for name, call in calls.items():
                fails = name.removeprefix("flowkd ") in FAILS
                seconds[name].append(cpu_seconds(call, environment, folder, fails=fails))
    medians = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    outcome = {
        "seconds": {name: round(found, 3) for name, found in medians.items()},
        "times_python": {
            name: round(found / medians[PYTHON], 1) for name, found in medians.items()
        },
        "rounds": ROUNDS,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(outcome, indent=2))


def cpu_seconds(
    call: tuple[str, ...], environment: dict[str, str], folder: str, *, fails: bool
) -> float:
    """Returns the CPU seconds, of user and system, of a process and all that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        call, env=environment, cwd=folder, capture_output=True, check=False, timeout=120
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in ((0, 1) if fails else (0,)):
        raise SystemExit(f"{' '.join(call)} ended with {done.returncode}: {done.stderr!r}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-cli.md."""
    rows = [
        f"| `{name}` | {seconds:.2f} | {results['times_python'][name]:.1f} | {_aim(name)} |"
        for name, seconds in results["seconds"].items()
    ]
    text = f"""# What a command takes before it does anything

`make bench-cli`, {results["date"]}, Python {results["python"]}, {results["machine"]}: CPU seconds,
of user and system, of a whole process on an almost empty store; the median of
{results["rounds"]} rounds after one that is not counted, in which all commands take turns. Beside
them how many times those of `{PYTHON}` in the same rounds.

| command | CPU seconds | times Python alone | aim |
| --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    return text


def _aim(name: str) -> str:
    aim = AIMS.get(name.removeprefix("flowkd "))
    return "" if aim is None else f"< {aim:g} s"


if __name__ == "__main__":
    main()
