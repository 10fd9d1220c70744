"""A study's results in sentences, which claim no more than was measured."""

from __future__ import annotations

from flowkd.evaluation.intervals import Interval
from flowkd.report.caveats import another_order, weak_lead
from jobs.studies.config import PLAIN, TEACHER
from jobs.studies.results import Results, StudyFacts, SummaryRow, Uncertain


def study_headline(results: Results, study: StudyFacts) -> str:
    """Returns the outcome of the study's best arm in one sentence."""
    summary = results.of(study.name)
    best, plain, teacher = (summary.get(arm) for arm in (study.best, PLAIN, TEACHER))
    needed = {study.best: best, PLAIN: plain, TEACHER: teacher}
    absent = [arm for arm, row in needed.items() if row is None or row.test is None]
    if best is None or plain is None or teacher is None or absent:
        return f"no comparison yet, for want of {' and '.join(f'`{arm}`' for arm in absent)}."
    first = "".join(f"{sentence} " for sentence in first_lines(teacher, plain, best))
    bits = (
        f"{first}Teacher {teacher.test:.3f}, plain student {plain.test:.3f}, `{study.best}` "
        f"{best.test:.3f} bits/dim"
    )
    if best.gap_closed is None:
        return f"{bits}: the plain student is no worse than the teacher, there is no gap to close."
    interval = (
        ""
        if best.gap is None or best.gap.low is None or best.gap.high is None
        else (f", 95% interval {best.gap.low:.0%} to {best.gap.high:.0%}")
    )
    spread = "" if best.gap_spread is None else f", ± {best.gap_spread:.0%} between them"
    runs = f"{best.gap_runs} run{'' if best.gap_runs == 1 else 's'}"
    return (
        f"{bits}: {best.gap_closed:.0%} of the gap closed ({runs}{spread}{interval}); target "
        f"{study.targets.gap_closed:.0%}, {_reached(best, study)}."
    )


def first_lines(teacher: SummaryRow, plain: SummaryRow, best: SummaryRow) -> list[str]:
    """Returns what belongs before all else: no better teacher, and splits of different orders."""
    found, means = [], {}
    for split, lead in (
        ("validation", teacher.validation_minus_plain),
        ("test", teacher.minus_plain),
    ):
        bits = {row.arm: getattr(row, split) for row in (teacher, plain, best)}
        if None in bits.values():
            continue
        means[split] = bits
        ahead = Interval(bits[PLAIN] - bits[TEACHER])
        if lead is not None and lead.error is not None:
            known = lead.interval
            ahead = Interval(-known.estimate, known.error, -known.high, -known.low)
        found += weak_lead(split, bits[TEACHER], bits[PLAIN], ahead)
    return [*found, *(another_order(means) if means else [])]


def verdicts(results: Results, study: StudyFacts) -> list[str]:
    """Returns sentences: each target, what compute buys the plain student, what validation says."""
    summary = results.of(study.name)
    best = summary.get(study.best)
    if best is None or best.test is None:
        return []
    found = []
    if best.gap_closed is not None:
        found.append(
            f"Target, `{study.best}` closes at least {study.targets.gap_closed:.0%} of the gap: "
            f"{_reached(best, study)}, at {best.gap_closed:.0%} on average{_open(best, study)}."
        )
    found += _size_and_speed(best, study)
    found += _plain_with_more(summary, best)
    found += _by_validation(summary, study, best)
    return found


def shortfalls(results: Results, study: StudyFacts) -> list[str]:
    """Returns a line for each arm of which runs are missing or failed, with the reasons."""
    lines = []
    for arm, row in results.of(study.name).items():
        total = row.runs + row.failed + row.missing
        if row.missing:
            lines.append(f"`{arm}`: {row.missing} of {total} runs are missing.")
        reasons = [
            (line.teacher_seed, line.student_seed, line.failed)
            for line in results.runs
            if line.study == study.name and line.arm == arm and line.failed
        ]
        for teacher, student, reason in reasons:
            seeds = [
                f"{role} seed {seed}"
                for role, seed in (("teacher", teacher), ("student", student))
                if seed is not None
            ]
            lines.append(f"`{arm}`, {', '.join(seeds)}: failed: {reason}")
    return lines


def _reached(best: SummaryRow, study: StudyFacts) -> str:
    assert best.gap_closed is not None
    counted = f"in {best.reached} of {best.gap_runs} runs"
    if best.gap_closed < study.targets.gap_closed:
        return f"**missed** (reached {counted})" if best.reached else "**missed**"
    if best.reached == best.gap_runs:
        return "reached" + (f" {counted}" if best.gap_runs > 1 else " in the only run")
    return f"reached on average, but only {counted}"


def _open(best: SummaryRow, study: StudyFacts) -> str:
    """Returns that other groups of rows may say otherwise of the target, where they may."""
    if best.gap is None or best.gap.low is None or best.gap.high is None:
        return ""
    interval = f"95% interval {best.gap.low:.0%} to {best.gap.high:.0%}"
    if best.gap.low < study.targets.gap_closed <= best.gap.high:
        return f"; the {interval} leaves it open for other rows"
    return f", {interval}"


def _size_and_speed(best: SummaryRow, study: StudyFacts) -> list[str]:
    targets, found = study.targets, []
    if best.parameters_share is not None:
        kept = best.parameters_share <= targets.parameters_share
        found.append(
            f"Target, at most {targets.parameters_share:.0%} of the teacher's parameters: "
            f"{'reached' if kept else '**missed**'}, at {best.parameters_share:.1%}."
        )
    if best.throughput_ratio is not None and best.sampling_ratio is not None:
        slower = min(best.throughput_ratio, best.sampling_ratio)
        found.append(
            f"Target, at least {targets.throughput_ratio:g} times the teacher's throughput: "
            f"{'reached' if slower >= targets.throughput_ratio else '**missed**'}, at "
            f"{best.throughput_ratio:.1f} times for log_prob and {best.sampling_ratio:.1f} times "
            f"for sampling."
        )
    return found


def _plain_with_more(summary: dict[str, SummaryRow], best: SummaryRow) -> list[str]:
    """Says what more steps alone give: distillation that gains less gains nothing."""
    found = []
    plain = summary.get(PLAIN)
    for arm, row in summary.items():
        if not row.plain or arm == PLAIN or row.test is None or best.test is None:
            continue
        times = ""
        if plain and plain.steps and row.steps:
            times = f" ({row.steps / plain.steps:.1f} times the steps)"
        beside = "better than" if row.test < best.test else "no better than"
        found.append(
            f"`{arm}`{times}: {row.test:.3f} bits/dim, {beside} `{best.arm}` at {best.test:.3f}"
            f"{_difference(row.minus_best)}."
        )
    return found


def _by_validation(
    summary: dict[str, SummaryRow], study: StudyFacts, best: SummaryRow
) -> list[str]:
    """Says which arm one would have chosen without the test split."""
    judged = {
        arm: row.validation
        for arm, row in summary.items()
        if row.validation is not None and arm != TEACHER and row.steps == study.student.steps
    }
    if best.validation is None or study.best not in judged:
        return []
    first = min(judged, key=judged.__getitem__)
    if first == study.best:
        return [f"On validation, too, `{first}` is the best of the arms of equal steps."]
    return [
        f"On validation `{first}` is the best of the arms of equal steps, at "
        f"{judged[first]:.4f} bits/dim against {best.validation:.4f} of `{study.best}`"
        f"{_difference(summary[first].validation_minus_best)}."
    ]


def _difference(value: Uncertain | None) -> str:
    if value is None or value.error is None:
        return ""
    chance = ", which may be chance" if value.interval.nothing else ""
    return f" (difference {value.estimate:+.4f} ± {value.error:.4f}{chance})"
