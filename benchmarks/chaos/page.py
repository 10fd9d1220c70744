"""The table of `make chaos`, for the terminal and for docs/results/reliability.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.chaos.faults import FAULTS

COUNTED = ("lost", "doubled", "wrong", "tracebacks")


def machine() -> str:
    """Returns the processor and the number of its cores."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def table(found: dict[str, Any]) -> str:
    """Returns one row a fault, over the stores that it met, and a last one with the sums."""
    faults: dict[str, list[dict[str, Any]]] = {}
    for row in found["rows"]:
        faults.setdefault(row["fault"], []).append(row)
    lines = [
        "| fault | what is done | store | jobs | lost | doubled | other results | tracebacks | s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for fault, rows in sorted(faults.items()):
        stores = ", ".join(
            f"{row['store']}{' (not injected)' if row['note'] else ''}" for row in rows
        )
        lines.append(f"| {fault} | {rows[0]['about']} | {stores} | {_counts(rows)} |")
    lines.append(f"| all | | | {_counts(found['rows'])} |")
    return "\n".join(lines)


def section(found: dict[str, Any]) -> str:
    """Returns the part of docs/results/reliability.md."""
    met = {row["fault"] for row in found["rows"] if not row["note"]}
    never = [fault for fault in FAULTS if fault not in met]
    not_reached = f"\nNot tried: {', '.join(never)}.\n" if never else ""
    return f"""## Faults one after the other, on a cluster that works

`make chaos`, {found["date"]}, seed {found["seed"]}, {found["minutes"]:.0f} minutes on
{found["machine"]}, load {found["load"]}.

Trainings, evaluations, publishing, pipelines and quick commands are submitted to one cluster with a
store on disk and one on an S3 server. Each job holds a lock while it lives and writes to a ledger
when it begins and ends, from outside of flowkd. *Lost*: did not end as it should, or is said to
have succeeded and never ran to its end. *Doubled*: ran twice at once, or was counted twice. *Other
results*: a training whose steps or losses are not those of an undisturbed one, to 1e-5.
*Tracebacks*: of flowkd's own code, in any log of the cluster or of a job, or in what a command
printed.

{table(found)}
{not_reached}"""


def _counts(rows: Iterable[dict[str, Any]]) -> str:
    rows = list(rows)
    counts = [sum(row["jobs"] for row in rows)]
    counts += [sum(len(row[kind]) for row in rows) for kind in COUNTED]
    return " | ".join(map(str, [*counts, round(sum(row["seconds"] for row in rows))]))
