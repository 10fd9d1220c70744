"""The page docs/results/bench-serve.md, from results/bench-serve.json."""

from __future__ import annotations

from typing import Any


def document(results: dict[str, Any]) -> str:
    """Returns the page."""
    cases = {"1 client, one request after the other": results["alone"]}
    cases |= {f"{load} times the capacity": found for load, found in results["loads"].items()}
    slow = results["slow_connections"]
    cases[f"1 client beside {slow} that send a byte a second"] = results["beside_slow"]
    rows = [
        f"| {name} | {case['sent']:,} | {_cells(case['accepted'])} | {_cells(case['refused'])} "
        f"| {case['lost']} |"
        for name, case in cases.items()
    ]
    return f"""# A service under load

`make bench-serve`, {results["date"]}, torch {results["torch"]}, {results["machine"]}; load average
of the machine over the last 5 minutes: {results["load_average"]:g}.

One replica of one core; server and client share the machine. A request draws 64 samples of a small
Glow (3x8x8). The capacity, {results["capacity_per_second"]:g} requests a second, is what 32 clients
in turns get answered; above it requests come at random moments, whatever became of those before,
for {results["seconds_at_each_load"]:g} s at each load. Milliseconds run from the moment at which a
request was to be sent until its answer was whole: at 10 times the capacity they hold the time that
the client itself lacked. Refused is 503 with `Retry-After`.

| load | sent | accepted | median, ms | 95% | 99% | refused | median, ms | 95% | 99% | lost |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""


def _cells(found: dict[str, Any]) -> str:
    times = (
        f"{1000 * found[key]:,.0f}" if key in found else "" for key in ("median", "95%", "99%")
    )
    return " | ".join([f"{found['count']:,}", *times])
