"""make docs: the figures of results/*.json into README.md and docs/, so that none is typed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

README = Path("README.md")
BENCH = Path("docs/bench.md")
BEGIN, END = "<!-- quickstart -->", "<!-- /quickstart -->"
ROLES = ("teacher", "plain", "distilled")
AIMS = {"log_prob": 1.2, "sample": 1.2, "train_step": 1.5, "ray_overhead": 1.03}


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = quickstart(read("quickstart"))
    README.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    BENCH.write_text(bench(read("bench")), encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    path = Path(f"results/{name}.json")
    if not path.exists():
        raise SystemExit(f"no {path}: run `make {name}` first")
    return json.loads(path.read_text(encoding="utf-8"))


def quickstart(results: dict[str, Any]) -> str:
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
    closed = results["gap_closed"]
    share = "there is no gap" if closed is None else f"{closed:.0%}"
    seconds = results["seconds"]
    return "\n".join(
        [
            *lines,
            "",
            f"Share of the gap between plain student and teacher closed: {share}. It took "
            f"{seconds:.0f} s after the install.",
            "One run of each flow, few steps, one learning rate for all: a demo, not a study.",
        ]
    )


def bench(results: dict[str, Any]) -> str:
    own = results["own_networks"]
    rows = [
        f"| {name} | {results[name]:.3f} | {own.get(name, math.nan):.3f} | {aim:.2f} |"
        for name, aim in AIMS.items()
    ]
    text = f"""# First figures

`make bench`, {results["date"]}, torch {results["torch"]}, {results["machine"]}.

Glow 3x32x32, L 3, K 8, width 128, batch 16: its time over that of its networks alone, at the
shapes that they see, in the same rounds; first with the networks in torch's default memory layout,
then in the one that flowkd uses (channels last). `ray_overhead`: a training step within Ray Train,
one worker, over that of a plain loop.

| | over the networks | over the networks, channels last | aim |
| --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    return text.replace("| nan |", "| |")


if __name__ == "__main__":
    main()
