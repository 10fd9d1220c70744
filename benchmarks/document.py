"""make docs: writes the figures of results/*.json into README.md and docs/results/."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import (
    cli,
    data,
    defaults_page,
    distil,
    engines,
    fold_networks,
    journeys_page,
    memory,
    precision,
    ray_train,
    serve_page,
    student_shapes,
    tuning_page,
)
from benchmarks.chaos import page as chaos_page
from benchmarks.families import page as families_page
from benchmarks.onepass import page as onepass_page
from benchmarks.performance import page as performance_page
from benchmarks.scale import page as scale_page
from cluster.queue.config import QueueConfig
from flowkd.evaluation.figures import FlowFigures
from flowkd.report.caveats import few_groups, first_lines, held_out
from flowkd.report.comparison import differences, gap_text

QUEUE = QueueConfig()
README = Path("README.md")
DOCS = Path("docs/results")
BEGIN, END = "<!-- quickstart -->", "<!-- /quickstart -->"
TABLE_BEGIN, TABLE_END = "<!-- quickstart-table -->", "<!-- /quickstart-table -->"
CHAOS_BEGIN, CHAOS_END = "<!-- chaos -->", "<!-- /chaos -->"
PAGES = {
    "bench-all": "performance",
    "bench-families": "families",
    "bench-scale": "scale",
    "bench-tuning": "tuning",
}
MADE_BY = {"reliability": "test"}
LONG = "bench-onepass-40000"
ROLES = ("teacher", "plain", "distilled")
AIMS = {"log_prob": 1.2, "sample": 1.2, "train_step": 1.5}


def main() -> None:
    """Writes every part whose results are there."""
    found = read("quickstart")
    if found is not None:
        put_between(README, BEGIN, END, quickstart_in_short(found))
        put_between(DOCS / "index.md", BEGIN, END, quickstart(found))
    found = read("quickstart-table")
    if found is not None:
        put_between(DOCS / "index.md", TABLE_BEGIN, TABLE_END, quickstart(found))
    pages: dict[str, Callable[[dict[str, Any]], str]] = {
        "bench": bench,
        "bench-all": performance_page.document,
        "bench-cli": cli.document,
        "bench-data": data.document,
        "bench-distill": distil.document,
        "bench-engines": engines.document,
        "bench-defaults": defaults_page.document,
        "bench-families": families_page.document,
        "bench-fold": fold_networks.document,
        "bench-memory": memory.document,
        "bench-onepass": onepass_page.document,
        LONG: partial(onepass_page.document, command=f"make {LONG}"),
        "bench-precision": precision.document,
        "bench-scale": scale_page.document,
        "bench-serve": serve_page.document,
        "bench-shapes": student_shapes.document,
        "bench-train": ray_train.document,
        "bench-tuning": tuning_page.document,
        "bench-warmstart": warm_starts,
        "journeys": journeys_page.document,
        "reliability": reliability,
    }
    for name, write in pages.items():
        found = read(name)
        if found is not None:
            (DOCS / f"{PAGES.get(name, name)}.md").write_text(write(found), encoding="utf-8")
    found = read("chaos")
    if found is not None:
        put_between(DOCS / "reliability.md", CHAOS_BEGIN, CHAOS_END, chaos_page.section(found))


def put_between(path: Path, begin: str, end: str, text: str) -> None:
    """Replaces what is between two marks of a page."""
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def read(name: str) -> dict[str, Any] | None:
    """Returns the results of a target, or None, with a message, where there are none."""
    path = Path(f"results/{name}.json")
    if not path.exists():
        target = MADE_BY.get(name, name)
        print(f"no {path}: its figures stay as they are; `make {target}` makes them")
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def quickstart_in_short(results: dict[str, Any]) -> str:
    """Returns what README.md says of the quickstart."""
    teacher, plain, distilled = (results[role] for role in ROLES)
    figures = {role: FlowFigures.read(results[role]) for role in ROLES}
    share = distilled["parameters"] / teacher["parameters"]
    faster = distilled["samples_per_second"] / teacher["samples_per_second"]
    text = (
        f"On two CPU cores it took {results['seconds']:.0f} s after the install. The student, "
        f"*distilled*, has {share:.0%} of the teacher's parameters and draws {faster:.1f} times as "
        f"many samples a second. Bits per dimension, on rows that no flow has seen: teacher "
        f"{teacher['bits_per_dim']:.3f}, distilled {distilled['bits_per_dim']:.3f}, and "
        f"{plain['bits_per_dim']:.3f} for the same student trained on data alone; share of the gap "
        f"closed: {gap_text(figures)}. It is a demo, one run of each: "
        f"[all results](docs/results/index.md)."
    )
    return "\n".join(textwrap.wrap(text, 100, break_long_words=False))


def quickstart(results: dict[str, Any]) -> str:
    """Returns the table of the quickstart in docs/results/index.md."""
    teacher = results["teacher"]
    lines = [
        "| | bits/dim | parameters | log_prob/s | samples/s | steps |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for role in ROLES:
        flow = results[role]
        rates = (
            f"{flow[key]:,.0f} ({flow[key] / teacher[key]:.1f}x)"
            for key in ("log_prob_per_second", "samples_per_second")
        )
        share = flow["parameters"] / teacher["parameters"]
        lines.append(
            f"| {role} | {flow['bits_per_dim']:.3f} ± {flow['standard_error']:.3f} "
            f"| {flow['parameters']:,} ({share:.0%}) | {' | '.join(rates)} | {flow['steps']:,} |"
        )
    figures = {role: FlowFigures.read(results[role]) for role in ROLES}
    seconds = results["seconds"]
    return "\n".join(
        [
            *first_lines(figures),
            *([""] if first_lines(figures) else []),
            *lines,
            "",
            f"± standard error over groups of rows, of {held_out(figures)}. "
            + "; ".join(differences(figures)).capitalize()
            + f". Share of the gap between plain student and teacher closed: {gap_text(figures)}.",
            *few_groups(figures),
            f"It took {seconds:.0f} s after the install.",
            "One run of each flow, few steps, one learning rate for all: a demo, not a study.",
        ]
    )


def bench(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench.md."""
    own = results["own_networks"]
    rows = [
        f"| {name} | {results[name]:.3f} | {own.get(name, math.nan):.3f} | {aim:.2f} |"
        for name, aim in AIMS.items()
    ]
    text = f"""# First figures

`make bench`, {results["date"]}, torch {results["torch"]}, {results["machine"]}.

Glow 3x32x32, L 3, K 8, width 128, batch 16: its time over that of its networks alone, at the
shapes that they see, in the same rounds; first with the networks in torch's default memory layout,
then in the one that flowkd uses (channels last).

| | over the networks | over the networks, channels last | aim |
| --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    return text.replace("| nan |", "| |")


def warm_starts(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-warmstart.md."""
    rows = [
        f"| {name} | {case['rows']:,} | {case['teacher_parameters']:,} | "
        f"{case['student_parameters']:,} | {case['seconds']:.1f} | {case['cpu_seconds']:.1f} | "
        f"{case['mebibytes_before']:,} | {case['mebibytes']:,} |"
        for name, case in results.items()
        if isinstance(case, dict)
    ]
    return f"""# What warm starts cost

`make bench-warmstart`, {results["date"]}, torch {results["torch"]}, {results["machine"]}.

*paper* is CIFAR-10's teacher of the paper, 32x32x3, L 3, K 32, width 512, to K 8, width 128. Memory
is the peak of the process, before the start and with it, flows and torch included.

| start | rows | teacher's parameters | student's | s | CPU s | MiB before | MiB |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""


def reliability(results: dict[str, Any]) -> str:
    """Returns the page docs/results/reliability.md; what `make chaos` gave stays as it is there."""
    _, begin, rest = (DOCS / "reliability.md").read_text(encoding="utf-8").partition(CHAOS_BEGIN)
    rows = [
        f"| {fault} | {row['injected']} | {row['outcome']} | {row['seconds']:.0f} |"
        for fault, row in results["faults"].items()
    ]
    return f"""# Faults and what comes of them

Written by the tests that inject them, `make test`, {results["date"]}; then `make docs`. After each
of them no job is lost and no two attempts of a job have run at once: every job of these tests holds
a lock while it lives, and would meet the other.

| fault | how it was injected | what came of it | s |
| --- | --- | --- | --- |
{chr(10).join(rows)}

An attempt that Ray lost sight of is made again only after it has been silent for
`heartbeat_timeout + grace_period + loss_margin` of the queue's configuration,
{QUEUE.loss_timeout:g} s by default: it stops itself after `heartbeat_timeout`. The tests wait for
less. A dispatcher is also stopped before and after each single call
that it makes, with the real records and a small cluster in memory in Ray's place, for Ray itself
cannot be stopped there. On stores that let several writers create one object there may
be one dispatcher only; it says so when it starts.

{begin}{rest}"""


if __name__ == "__main__":
    main()
