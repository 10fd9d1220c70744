"""A study's results as Markdown: the frame is here, every figure comes from the results."""

from __future__ import annotations

import math
from collections.abc import Mapping

from flowkd.data.groups import FEW_GROUPS, describe_rows
from jobs.studies.config import PLAIN, TEACHER
from jobs.studies.results import Results, StudyFacts, SummaryRow, Uncertain
from jobs.studies.verdict import shortfalls, study_headline, verdicts

HOW = """\
**How.** Every student of a study has the same shape, batch size, learning rate schedule and,
unless its line says otherwise, the same number of steps; all begin with ActNorm initialised on
data, and all are judged by the moving average of their weights. The learning rate is the one of
those listed with which the *plain* student, trained on data alone, does best on validation; every
other arm takes it over. The weights that are kept are those of the best validation; the test split
is read once for each run, after all training is done. An arm that learns from a teacher is trained
for every pair of teacher and student seed, but for those whose line counts fewer runs; the others
for every student seed."""

READING = """\
**How to read.** *bits/dim* is the mean over runs on the test split, lower is better. After ± stands
the standard error that comes from the rows: a bootstrap over groups of rows that belong together,
such as the crops of one tile (a row is its own group where nothing else is known), with the same
runs. *minus plain* is the difference from the plain students, and *gap closed* is, for each run,
(plain - run) / (plain - teacher), with the mean of the plain students and the run's own teacher
(the mean of all teachers where it has none); 100% is as good as the teacher, below 0% is worse than
no distillation. Both are of the same groups under all flows: a paired bootstrap, with the 95%
interval in brackets. *between runs* is the standard deviation of bits/dim between runs, which holds
the differences between teachers as well. Where an arm's mean differs from that of the plain
students by less than the two spreads together (the root of the sum of their squares), where there
is no spread because there is one run only, or where the difference may be none for other groups of
rows, the line says so. *parameters* are a share
of the teacher's; *log_prob* and *sampling* are throughputs over the teacher's, both in the form
that they are served in (`flowkd.flows.inference`), one thread, batch 256, the two measured in turns
after all training. *CPU s* is process time of the training, one
thread, of a whole run: the start and an intermediate flow included, the teacher not."""


def document(
    results: Results, command: str, images: Mapping[str, list[str]], note: str = ""
) -> str:
    """Returns the document of all studies in the results.

    Args:
        results: What was measured.
        command: The command that makes the document again.
        images: For each study, its plots' paths relative to the document.
        note: What its reader should know before; default nothing.
    """
    machine = results.machine
    parts = [
        "# What distillation gains",
        f"`{command}`, {machine.date}, torch {machine.torch}, {machine.cpu}, "
        f"{_count(machine.threads, 'thread')} for each training. Every figure and every sentence "
        "that holds one is written by this command.",
        *([note] if note else []),
        HOW,
        READING,
        "## In short",
        "\n".join(
            f"- **{study.title}**: {study_headline(results, study)}" for study in results.studies
        ),
        *(_section(results, study, images.get(study.name, [])) for study in results.studies),
    ]
    return "\n\n".join(parts) + "\n"


def _section(results: Results, study: StudyFacts, images: list[str]) -> str:
    summary = results.of(study.name)
    missing = shortfalls(results, study)
    parts = [
        f"## {study.title}",
        setting(study, summary),
        *few_rows(study),
        arms_table(summary, study),
        "\n".join(f"- {sentence}" for sentence in verdicts(results, study)),
        "\n".join(["Not there:", "", *(f"- {line}" for line in missing)]) if missing else "",
        "\n\n".join(f"![{_caption(image)} of {study.title}]({image})" for image in images),
    ]
    return "\n\n".join(part for part in parts if part)


def setting(study: StudyFacts, summary: Mapping[str, SummaryRow]) -> str:
    """Returns in words what was trained, on which data, and how the learning rate was chosen."""
    used = "; ".join(
        f"{describe_rows(count, study.groups.get(split, count))} {split}"
        for split, count in study.rows.items()
    )
    teacher, student = study.teacher, study.student
    sizes = [_size(summary.get(arm)) for arm in (TEACHER, PLAIN)]
    return (
        f"Data set `{study.dataset}`, {study.dimensions} dimensions: {used}{_folds(study)}. "
        f"Teacher: {teacher.flow}{sizes[0]}, {teacher.steps:,} steps of {teacher.batch_size}, "
        f"{_count(study.teacher_seeds, 'seed')}. Student: {student.flow}{sizes[1]}, "
        f"{student.steps:,} steps of {student.batch_size}, {_count(study.student_seeds, 'seed')}. "
        f"{learning_rates(study)}"
    )


def learning_rates(study: StudyFacts) -> str:
    """Returns in words how the learning rate was chosen, and whether at the edge of the list."""
    tried = study.learning_rates
    listed = ", ".join(
        f"{rate} ({'no result' if value is None else f'{value:.3f}'})"
        for rate, value in tried.items()
    )
    text = f"Learning rates tried, with the plain student's validation bits/dim: {listed}"
    if study.rate_of_fold is not None:
        chosen = ", ".join("none yet" if r is None else f"{r:g}" for r in study.rate_of_fold)
        return f"{text}; chosen by the folds: {chosen}."
    if study.learning_rate is None:
        return f"{text}; none is chosen yet."
    text += f"; chosen: {study.learning_rate:g}."
    if len(tried) == 1:
        return f"{text} There was no choice: the plain student may do better with another."
    rates = [float(rate) for rate in tried]
    if study.learning_rate in (min(rates), max(rates)):
        text += (
            " **This is at the edge of the list: a rate beyond it may be better, and the plain "
            "student may be undertuned.**"
        )
    return text


def arms_table(summary: Mapping[str, SummaryRow], study: StudyFacts) -> str:
    """Returns the arms of a study beside each other, as a Markdown table."""
    lines = [
        "| arm | what it is | bits/dim | minus plain | gap closed (runs) | between runs | steps | "
        "parameters | log_prob | sampling | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    plain = summary.get(PLAIN)
    for arm, row in summary.items():
        name = f"**{arm}**" if arm == study.best else arm
        cells = [
            name,
            row.about,
            _with_error(row.test, row.test_error),
            minus(row.minus_plain),
            _gap(row, plain),
            _optional(row.test_spread, ".3f"),
            "" if row.steps is None else f"{row.steps:,}",
            _optional(row.parameters_share, ".0%"),
            _times(row.throughput_ratio),
            _times(row.sampling_ratio),
            _optional(row.cpu_seconds, ",.0f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def arm_cells(row: SummaryRow, plain: SummaryRow | None) -> list[tuple[str, str]]:
    """Returns an arm's figures for a page, each with a note on its error."""
    error = "" if row.test_error is None else f"± {row.test_error:.3f}"
    less, _, less_error = minus(row.minus_plain).partition(" ")
    closed, _, note = _gap(row, plain).partition(" ")
    note = "" if row.arm == PLAIN else note.replace(f"({row.gap_runs})", f"{row.gap_runs} runs")
    share = _optional(row.parameters_share, ".0%")
    size = share if row.parameters is None else f"{row.parameters:,}"
    return [
        ("-" if row.test is None else f"{row.test:.3f}", error),
        (less, less_error),
        (closed, note),
        (size, share if size != share else ""),
        (_times(row.throughput_ratio), ""),
        (_optional(row.cpu_seconds, ",.0f"), ""),
    ]


def within_spread(row: SummaryRow, plain: SummaryRow | None) -> bool | None:
    """Tells whether an arm differs from plain by less than the spread; None where that is unknown.

    The spread is the root of the sum of both arms' squared standard deviations between runs.
    """
    if plain is None or row.test is None or plain.test is None:
        return None
    if row.test_spread is None or plain.test_spread is None:
        return None
    return abs(row.test - plain.test) < math.hypot(row.test_spread, plain.test_spread)


def _gap(row: SummaryRow, plain: SummaryRow | None) -> str:
    if row.arm == TEACHER:
        return ""
    if row.gap_closed is None:
        return "no gap" if row.runs and plain and plain.test is not None else ""
    text = f"{_share(row.gap_closed)}{between(row.gap, '.0%')} ({row.gap_runs})"
    if row.arm == PLAIN:
        return text
    if row.minus_plain is not None and row.minus_plain.error is not None:
        text += ", within the error" if row.minus_plain.interval.nothing else ""
    within = within_spread(row, plain)
    if within is None:
        return f"{text}, spread unknown"
    return f"{text}, within the spread" if within else text


def minus(value: Uncertain | None) -> str:
    """Returns a difference with its standard error; empty if it is not known."""
    if value is None:
        return ""
    return f"{value.estimate:+.3f}" + ("" if value.error is None else f" ± {value.error:.3f}")


def between(value: Uncertain | None, form: str) -> str:
    """Returns a 95% interval in brackets, after a blank; empty if it is not known."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f" [{value.low:{form}}, {value.high:{form}}]"


def few_rows(study: StudyFacts) -> list[str]:
    """Returns a sentence if the study's splits have too few groups, or none."""
    held_out = {split: n for split, n in study.groups.items() if split != "train"}
    few = [
        f"{count} in {split.removeprefix('in ')}"
        for split, count in held_out.items()
        if count < FEW_GROUPS
    ]
    if not few:
        return []
    return [
        f"**Few independent groups of rows: {' and '.join(few)}.** Errors over so few are "
        f"themselves uncertain, and other groups may put the arms in another order"
        + ("." if study.folds else "; `folds` cross-validates.")
    ]


def _folds(study: StudyFacts) -> str:
    if study.folds is None:
        return ""
    return (
        f", cross-validated over {study.folds} folds: every group is in test once, in validation "
        f"once, and in training else; figures are of all folds together"
    )


def _share(value: float) -> str:
    text = f"{value:.0%}"
    return text if text.strip("-0%") else text.lstrip("-")


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ± {error:.3f}" if error is not None else "")


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}x"


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _size(row: SummaryRow | None) -> str:
    return f", {row.parameters:,} parameters" if row and row.parameters else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _caption(image: str) -> str:
    return "Share of the gap closed" if "gap" in image else "Validation while training"
