"""The document of a capacity study, in Markdown, and its plot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes

from flowkd.data.groups import describe_rows
from flowkd.evaluation.pareto import pareto_front
from flowkd.report.style import PNG, png_plot
from jobs.studies.capacity_results import CapacityPoint, CapacityResults, bits
from jobs.studies.config import PLAIN, TEACHER
from jobs.studies.document import between, few_rows, learning_rates, minus
from jobs.studies.results import StudyFacts
from jobs.studies.verdict import first_lines, shortfalls

FRAME = """\
Students of many shapes, each trained twice, with equal steps, batch size and learning rate: *plain*
on data alone, and *distilled*, {about}. The learning rate is that of the plain reference student,
for every shape: another shape might do better with another.

{rates}

*bits/dim* is the mean over runs on the test split, after ± its standard error over groups of rows
that belong together ({rows}). *minus plain* and *gap closed* compare a distilled student with the
plain one of the very same shape, on the same groups: (plain - distilled) / (plain - teacher), with
the 95% interval in brackets. Throughput is over the teacher's, one thread, batch 256, in turns.
A student is on the front of size if none has both fewer parameters and better likelihood, on the
front of speed if none is both faster in log_prob and better. {spread}"""


def capacity_document(results: CapacityResults, about: str, command: str, image: str) -> str:
    """Returns the document.

    Args:
        results: What was measured.
        about: What the distillation is, in words.
        command: The command that makes the document again.
        image: Path of the plot, relative to the document.
    """
    (study,) = results.study.studies
    machine = results.study.machine
    single = all(point.runs < 2 for point in results.points)
    frame = FRAME.format(
        about=about,
        rates=learning_rates(study),
        rows=_rows(study),
        spread="Each student is one run: small differences may be those of seeds."
        if single
        else "",
    )
    missing = shortfalls(results.study, study)
    summary = results.study.of(study.name)
    compared = [row for arm in (TEACHER, PLAIN, study.best) if (row := summary.get(arm))]
    parts = [
        f"# {study.title}",
        " ".join(first_lines(*compared)) if len(compared) == 3 else "",
        f"`{command}`, {machine.date}, torch {machine.torch}, {machine.cpu}. Every figure and "
        "every sentence that holds one is written by this command.",
        frame,
        *few_rows(study),
        _teacher(results, study),
        f"![Bits per dimension against parameters and against throughput]({image})",
        *_fronts(results.points),
        "## All students",
        _table(results.points),
        "\n".join(["Not there:", "", *(f"- {line}" for line in missing)]) if missing else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_capacity(results: CapacityResults, about: str, path: Path, command: str) -> None:
    """Writes the document, and its plots beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = f"{path.stem}.png"
    (path.parent / image).write_bytes(capacity_plot(results))
    text = capacity_document(results, about, command, image)
    path.write_text(text, encoding="utf-8")


def capacity_plot(results: CapacityResults) -> bytes:
    """Returns bits per dimension against parameters and against throughput, with both fronts."""
    teacher = _teacher_bits(results)
    return png_plot(
        lambda size: _draw(size, results.points, teacher, _size, "share of teacher's parameters"),
        3.6,
        lambda speed: _draw(speed, results.points, teacher, _speed, "teacher's throughput, times"),
    )


def _size(point: CapacityPoint) -> float:
    return point.parameters_share


def _speed(point: CapacityPoint) -> float:
    return point.throughput_ratio


def _draw(
    axes: Axes,
    points: list[CapacityPoint],
    teacher: float | None,
    place: Callable[[CapacityPoint], float],
    label: str,
) -> None:
    for distilled, color in ((False, PNG.muted), (True, PNG.series[0])):
        own = [point for point in points if point.distilled == distilled]
        name = "distilled" if distilled else "plain"
        axes.plot([place(point) for point in own], [*map(bits, own)], "o", color=color, label=name)
    sign = 1 if place is _size else -1
    best = pareto_front(points, lambda point: sign * place(point), bits)
    axes.plot(
        [place(point) for point in best],
        [bits(point) for point in best],
        color=PNG.series[1],
        linewidth=1.2,
        label="front",
        zorder=1,
    )
    if teacher is not None:
        axes.axhline(teacher, color=PNG.ink, linestyle="--", linewidth=1, label=TEACHER)
    if place is _size:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.legend()
    axes.set_xlabel(label)
    axes.set_ylabel("test bits/dim")


def _fronts(points: list[CapacityPoint]) -> list[str]:
    small = sorted((point for point in points if point.small), key=_size)
    fast = sorted((point for point in points if point.fast), key=_speed, reverse=True)
    return [
        "## Front of size, smallest first",
        "\n".join(_line(point) for point in small) or "No student is finished.",
        "## Front of speed, fastest first",
        "\n".join(_line(point) for point in fast) or "No student is finished.",
    ]


def _line(point: CapacityPoint) -> str:
    kind = "distilled" if point.distilled else "plain"
    return (
        f"- {point.shape}, {kind}: {point.test:.3f} bits/dim, {point.parameters_share:.0%} of the "
        f"parameters, {point.throughput_ratio:.1f} times the throughput"
    )


def _table(points: list[CapacityPoint]) -> str:
    lines = [
        "| student | flow | | bits/dim | minus plain | gap closed | between runs | parameters | "
        "log_prob | sampling | front |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for point in points:
        error = "" if point.test_error is None else f" ± {point.test_error:.3f}"
        spread = "" if point.test_spread is None else f"{point.test_spread:.3f}"
        closed = "" if point.gap_closed is None else f"{point.gap_closed:.0%}"
        fronts = [name for name in ("small", "fast") if getattr(point, name)]
        cells = [
            point.shape,
            point.flow,
            "distilled" if point.distilled else "plain",
            f"{point.test:.3f}{error}",
            minus(point.minus_plain),
            closed + between(point.gap, ".0%"),
            spread,
            f"{point.parameters:,} ({point.parameters_share:.0%})",
            f"{point.throughput_ratio:.1f}x",
            f"{point.sampling_ratio:.1f}x",
            ", ".join({"small": "size", "fast": "speed"}[name] for name in fronts),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(study: StudyFacts) -> str:
    count = study.rows.get("test", 0)
    return f"{describe_rows(count, study.groups.get('test', count))} of test"


def _teacher(results: CapacityResults, study: StudyFacts) -> str:
    bits = _teacher_bits(results)
    measured = "not finished" if bits is None else f"{bits:.3f} bits/dim"
    error = results.study.of(study.name)[TEACHER].test_error
    measured += "" if error is None else f" ± {error:.3f}"
    return (
        f"Data set `{study.dataset}`. Teacher: {study.teacher.flow}, "
        f"{study.teacher.steps:,} steps: {measured}. Students: {study.student.steps:,} steps."
    )


def _teacher_bits(results: CapacityResults) -> float | None:
    (study,) = results.study.studies
    return results.study.of(study.name)[TEACHER].test
