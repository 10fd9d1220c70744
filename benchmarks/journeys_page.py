"""The page docs/results/journeys.md, from results/journeys.json."""

from __future__ import annotations

from typing import Any

from flowkd.evaluation.figures import FlowFigures
from flowkd.report.caveats import first_lines
from flowkd.report.comparison import ROLES, gap_text, percent

NAMES = ("casp", "stars", "photos")
# Journey, what went wrong there, and what was done.
STUMBLES = (
    (
        "stars", "an identifier has more digits than a number can hold",
        "it is left out, and `flowkd new` says so",
    ),
    ("casp", "columns have long tails", "the import tells them, and what draws them in"),
    (
        "stars", "one row decided the mean of a flow, and nobody could see it",
        "a comparison says so before all else",
    ),
    (
        "casp", "the recovery from a leap of the loss was taken for a plateau: the teacher stopped "
        "early, and the student closed -419% of the gap",
        "`steps: auto` learns in cycles of the rate, each twice as long, until two bring nothing",
    ),
    (
        "casp", "a folded student learnt in steps too small to tell from its end, and stopped",
        "students take as many steps as their teacher",
    ),
    (
        "photos", "a flow as large as the pictures allow would have trained for a day",
        "its size follows `minutes`, by steps that are timed before",
    ),
    (
        "photos", "a step that was timed on few rows was faster than those that followed",
        "it is timed on a whole batch",
    ),
    (
        "photos", "one photograph was all of the test, and another all of validation",
        "a few large pictures are split by squares of them",
    ),
    (
        "all", "`flowkd new` said too few minutes",
        "it says a range, and what `minutes` cannot suffice for; on a busy machine it is still low",
    ),
)  # fmt: skip


def document(results: dict[str, Any]) -> str:
    """Returns the page."""
    sections = "\n".join(_section(name, each) for name, each in results["journeys"].items())
    return f"""# Journeys: from one's own data to a served student

`make journeys`, {results["date"]}, torch {results["torch"]}, {results["machine"]}, load
{results["load"]}. From a fresh clone, whose install took {results["install_seconds"]:.0f} s; each
journey is two commands and one file, which nobody edited. The aim is a student that closes at least
75% of the gap between the plain student and the teacher at no more than 25% of the parameters, or a
report that says why not.{_missing(results)}

| data | look, s | run, min | share of parameters | share of the gap closed | faster |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(_row(name, each) for name, each in results["journeys"].items())}

*Faster* is log-likelihoods and samples a second, over the teacher's.

{sections}
## What they stumbled on

| journey | what went wrong | what was done |
| --- | --- | --- |
{chr(10).join(f"| {' | '.join(each)} |" for each in STUMBLES)}
"""


def _missing(results: dict[str, Any]) -> str:
    """Returns which journeys were not made, in words; nothing where all were."""
    missing = [name for name in NAMES if name not in results["journeys"]]
    return f" Not made by today's defaults yet: {', '.join(missing)}." if missing else ""


def _row(name: str, journey: dict[str, Any]) -> str:
    teacher, student = journey["teacher"], journey["distilled"]
    figures = {role: FlowFigures.read(journey[role]) for role in ROLES}
    faster = ", ".join(
        f"{student[key] / teacher[key]:.1f}x"
        for key in ("log_prob_per_second", "samples_per_second")
    )
    return (
        f"| [{name}](#{name}) | {journey['new_seconds']:.0f} | {journey['run_seconds'] / 60:.1f} | "
        f"{percent(student['parameters'] / teacher['parameters'])} | {gap_text(figures)} | "
        f"{faster} |"
    )


def _section(name: str, journey: dict[str, Any]) -> str:
    rows = [
        f"| {role} | {journey[role]['bits_per_dim']:.3f} ± {journey[role]['standard_error']:.3f} "
        f"| {journey[role]['parameters']:,} | {journey[role]['steps']:,} |"
        for role in ROLES
    ]
    said = "\n".join(journey["said"])
    figures = {role: FlowFigures.read(journey[role]) for role in ROLES}
    advice = "\n".join(f"- {each}" for each in [*first_lines(figures), *journey["advice"]])
    what = f"\nWhat the report says of it:\n\n{advice}\n" if advice else ""
    return f"""## {name}

{journey["about"][0].upper()}{journey["about"][1:]}.

```text
$ {journey["commands"][0]}
{said}
$ {journey["commands"][1]}
```

| | bits/dim | parameters | steps |
| --- | --- | --- | --- |
{chr(10).join(rows)}
{what}"""
