"""make mutants: deliberate faults, each of which the quick tests have to catch.

tests/mutants.yaml lists them: a fault in words, a file, a text in it, what stands there instead,
and the tests that should fail then. Each is made in a copy of the tree, never in the tree itself.
`python -m benchmarks.mutants WORD` tries those alone whose file or description holds the word.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "tests" / "mutants.yaml"
RESULTS = Path("results/mutants.json")
PAGE = Path("docs/results/mutants.md")
NOT_COPIED = {"results", "store"}
AT_ONCE = max(1, min(4, os.cpu_count() or 1))
SECONDS = 300
QUICK = "not cluster and not server"
# Processes are forked from one that has imported what takes long: each then starts in no time.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["numpy", "optuna", "pyarrow", "pydantic", "pytest", "ray", "s3fs", "torch"]
)


@dataclass(frozen=True)
class Mutant:
    """A deliberate fault.

    Attributes:
        fault: What is wrong then, in words.
        file: Where, from the root of the tree.
        original: A text that is in the file exactly once.
        mutated: What stands there instead.
        tests: What to run, as arguments of pytest: at least one of them has to fail.
    """

    fault: str
    file: str
    original: str
    mutated: str
    tests: str


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Attributes:
        caught_by: The first test that failed; None if it was missed.
        note: Why it counts as missed.
        seconds: That it took.
    """

    caught_by: str | None
    note: str = ""
    seconds: float = 0.0


def main(words: Sequence[str]) -> int:
    """Tries the faults that hold all words; returns 1 if one is missed, 2 if there is none."""
    chosen = [m for m in read_mutants() if all(w in f"{m.file} {m.fault}" for w in words)]
    if not chosen:
        print(f"no fault of {ROWS.name} holds {' and '.join(words)}")
        return 2
    began = time.monotonic()
    outcomes = try_all(chosen)
    seconds = time.monotonic() - began
    missed = [pair for pair in zip(chosen, outcomes, strict=True) if pair[1].caught_by is None]
    for mutant, outcome in missed:
        print(f"missed: {mutant.fault} ({mutant.file}): {outcome.note}")
    print(f"{len(chosen) - len(missed)} of {len(chosen)} faults caught in {seconds:.0f} s")
    if not words:
        report(chosen, outcomes, seconds)
    return 1 if missed else 0


def read_mutants(path: Path = ROWS) -> list[Mutant]:
    """Returns the faults that a file lists."""
    return [Mutant(**row) for row in yaml.safe_load(path.read_text(encoding="utf-8"))]


def try_all(mutants: Sequence[Mutant], root: Path = ROOT) -> list[Outcome]:
    """Tries each mutant, some at once, each in a copy of the tree of its own."""
    with tempfile.TemporaryDirectory(prefix="flowkd-mutants-") as folder:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(AT_ONCE):
            copies.put(copy_tree(root, Path(folder, str(number))))

        def attempt(mutant: Mutant) -> Outcome:
            copy = copies.get()
            try:
                outcome = try_one(mutant, copy)
            finally:
                copies.put(copy)
            print(f"{outcome.caught_by or 'MISSED'}: {mutant.fault}", flush=True)
            return outcome

        tests = sorted({test for mutant in mutants for test in mutant.tests.split()})
        status, output = run(tests, Path(folder, "0"), seconds=None)
        if status != 0:
            raise SystemExit(f"the tests fail without any fault:\n{output}")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(attempt, mutants))


def copy_tree(root: Path, copy: Path) -> Path:
    """Copies what tests need of a tree."""
    copy.mkdir()
    for path in root.iterdir():
        if path.name.startswith(".") or path.name in NOT_COPIED:
            continue
        if path.is_dir():
            shutil.copytree(path, copy / path.name)
        else:
            shutil.copy2(path, copy / path.name)
    return copy


def try_one(mutant: Mutant, copy: Path) -> Outcome:
    """Makes a fault in a copy, runs its tests, and undoes it."""
    path = copy / mutant.file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = text.count(mutant.original)
    if found != 1:
        return Outcome(None, f"the original text is there {found} times, expected once")
    began = time.monotonic()
    path.write_text(text.replace(mutant.original, mutant.mutated), encoding="utf-8")
    try:
        status, output = run(mutant.tests.split(), copy)
    finally:
        path.write_text(text, encoding="utf-8")
    seconds = round(time.monotonic() - began, 1)
    failed = re.search(r"^(?:FAILED|ERROR) ([^\s\[]+)", output, re.MULTILINE)
    if status == 1 and failed:
        return Outcome(failed[1], seconds=seconds)
    if status == 0:
        return Outcome(None, "its tests pass", seconds)
    return Outcome(
        None, f"pytest's exit status was {status}; its output ends:\n{output[-2000:]}", seconds
    )


def run(
    tests: Iterable[str], copy: Path, seconds: float | None = SECONDS
) -> tuple[int | None, str]:
    """Runs tests in a copy; returns pytest's exit status, None if it took too long, and output."""
    output = copy / "output.txt"
    process = FORKS.Process(target=_pytest, args=(list(tests), copy, output))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None, ""
    return process.exitcode, output.read_text(encoding="utf-8", errors="replace")


def _pytest(tests: list[str], copy: Path, output: Path) -> None:
    """Runs pytest in this process, which has imported nothing of the project's yet but this."""
    import pytest

    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", QUICK, *tests]))
    sys.stdout.flush()
    os._exit(status)  # no need to tidy up


def report(mutants: Sequence[Mutant], outcomes: Sequence[Outcome], seconds: float) -> None:
    """Writes results/mutants.json and docs/results/mutants.md."""
    rows = [{**asdict(m), **asdict(o)} for m, o in zip(mutants, outcomes, strict=True)]
    results = {"date": date.today().isoformat(), "seconds": round(seconds), "mutants": rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(document(results), encoding="utf-8")


def document(results: dict[str, Any]) -> str:
    """Returns the page of docs/results/mutants.md."""
    rows = [
        f"| {row['fault']} | {row['file']} | {row['caught_by'] or '**missed**'} |"
        for row in sorted(results["mutants"], key=lambda row: row["file"])
    ]
    caught = sum(row["caught_by"] is not None for row in results["mutants"])
    return "\n".join(
        [
            "# Deliberate faults, and the tests that catch them",
            "",
            f"`make mutants`, {results['date']}: the quick tests catch {caught} of {len(rows)} "
            f"faults, in {results['seconds']} s. Each was made in a copy of the tree; the test is "
            "the first that failed. `tests/mutants.yaml` holds the faults themselves.",
            "",
            "| fault | in | caught by |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
