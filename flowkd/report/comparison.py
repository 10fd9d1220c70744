"""Compares a teacher with its students: in one sentence, and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.intervals import Interval, difference, gap_interval, gaps_closed
from flowkd.report.caveats import first_lines, in_percent

ROLES = ("teacher", "plain", "distilled")
APOSTROPHE = "'s"
ENGINES = {"onnx": "ONNX Runtime", "torch": "torch"}
UNALIKE = "the flows' rates are not of one engine"


class Cell(NamedTuple):
    """A figure, and a note on its error or on its ratio to the teacher's."""

    value: str
    note: str = ""


class FigureRow(NamedTuple):
    """One figure of all flows: a row of the table."""

    name: str
    meaning: str
    cells: list[Cell]


def by_role(figures: Mapping[str, FlowFigures]) -> dict[str, FlowFigures]:
    """Returns the figures of ROLES, in their order; raises ValueError if one is not among them."""
    if not has_roles(figures):
        raise ValueError(f"expected figures of {ROLES}; got {tuple(figures)}")
    return {role: figures[role] for role in ROLES}


def has_roles(figures: Mapping[str, FlowFigures]) -> bool:
    """Tells whether a teacher and both of its students are among some flows."""
    return set(ROLES) <= set(figures)


def in_order(figures: Mapping[str, FlowFigures]) -> dict[str, FlowFigures]:
    """Returns figures with those of ROLES first, if all of them are there."""
    return {**by_role(figures), **figures} if has_roles(figures) else dict(figures)


def comparison_headline(figures: Mapping[str, FlowFigures]) -> str:
    """Returns in words whether the small flow is as good as the large one, and what it saves.

    What the reader must know before, such as a teacher that is no better, comes first. Without all
    of ROLES, each flow is compared with the first.
    """
    if has_roles(figures):
        figures = by_role(figures)
        return " ".join([*first_lines(figures), _outcome(figures)])
    return " ".join([*first_lines(figures), *_beside_the_first(figures)])


def _beside_the_first(figures: Mapping[str, FlowFigures]) -> list[str]:
    (name, first), *others = figures.items()
    if not others:
        return [
            f"{name} has {first.bits_per_dim:.3f} bits per dimension with {first.parameters:,} "
            f"parameters."
        ]
    found = []
    for label, flow in others:
        more = flow.bits_per_dim - first.bits_per_dim
        apart = f"{abs(more):.3f} bits per dimension {'more' if more > 0 else 'less'}"
        savings = ", ".join(_savings(flow, first, whose(name)))
        found.append(f"{label} {savings}, at {apart}.")
    return found


def whose(label: str) -> str:
    """Returns what belongs to a flow, in words: "the teacher's", "glow-8's"."""
    return f"the {label}'s" if label in ROLES else f"{label}'s"


def _outcome(figures: Mapping[str, FlowFigures]) -> str:
    teacher, plain, distilled = figures.values()
    bits = [flow.bits_per_dim for flow in (teacher, plain, distilled)]
    if not all(map(math.isfinite, bits)):
        needs = ", ".join(f"{role} {value:.3f}" for role, value in zip(ROLES, bits, strict=True))
        return f"No comparison: not all flows have finite bits per dimension ({needs})."
    found = gap_share(figures)
    closed = found.estimate
    if math.isnan(closed):
        return (
            f"There is no gap to close: at {plain.bits_per_dim:.3f} bits per dimension the plain "
            f"student is at least as good as the teacher at {teacher.bits_per_dim:.3f}. "
            f"{_better_student(teacher, plain, distilled)}"
        )
    width = plain.bits_per_dim - teacher.bits_per_dim
    gap = f"the gap of {width:.3f} bits per dimension between plain student and teacher"
    if closed <= 0:
        effect = f"widened {gap} by {-closed:,.0%}" if closed <= -0.005 else f"left {gap} as it was"
        return (
            f"Distillation did not help here: it {effect}. "
            f"{_better_student(teacher, plain, distilled)}"
        )
    share = in_percent(found, percent) if plain.by_group else percent(closed)
    reached = "is at least as good as the teacher" if closed >= 1 else f"closes {share} of {gap}"
    return f"The distilled student {', '.join(_savings(distilled, teacher))}, and {reached}."


def comparison_table(figures: Mapping[str, FlowFigures]) -> list[FigureRow]:
    """Returns the figures as text; sizes and rates compared with the first flow's."""
    first, *others = flows = list(figures.values())
    of = whose(next(iter(figures)))
    errors = [
        f"± {flow.standard_error:.3f}" if math.isfinite(flow.standard_error) else ""
        for flow in flows
    ]
    shares = ["", *(percent(flow.parameters / first.parameters) for flow in others)]

    def rates(name: str, attribute: str) -> FigureRow:
        values: list[float] = [getattr(flow, attribute) for flow in flows]
        ratios = ["", *(_ratio(value, values[0]) for value in values[1:])]
        notes = [ratio and f"{ratio}x" for ratio in ratios]
        return _row(name, f"ratio to {of}", [f"{value:,.0f}" for value in values], notes)

    bits = [f"{flow.bits_per_dim:.3f}" for flow in flows]
    sizes = [f"{flow.parameters:,}" for flow in flows]
    round_trips = [f"{flow.round_trip:.1e}" for flow in flows]
    return [
        _row("bits/dim", "± standard error; lower is better", bits, errors),
        *_differences(figures),
        *_told_apart(flows),
        *_divergences(flows, of),
        _row("parameters", f"share of {of}", sizes, shares),
        *_families(flows),
        rates("log_prob/s", "log_prob_per_second"),
        rates("samples/s", "samples_per_second"),
        *_engines(flows),
        *_by_jacobi(flows, of),
        _row("steps", "of training", [f"{flow.steps:,}" for flow in flows]),
        _row("round trip", "largest error, x to z and back", round_trips),
    ]


def _families(flows: Sequence[FlowFigures]) -> list[FigureRow]:
    """Returns a row with each flow's family, and the passes that its directions take."""
    values, notes = [flow.family for flow in flows], [flow.passes for flow in flows]
    return [_row("family", "passes of its networks", values, notes)] if any(values) else []


def _told_apart(flows: Sequence[FlowFigures]) -> list[FigureRow]:
    """Returns a row with how well a classifier tells samples from data, where it was measured."""
    values, notes = [""] * len(flows), [""] * len(flows)
    for place, flow in enumerate(flows):
        quality = getattr(flow, "quality", None)
        found = quality.figures.get("c2st_auc") if quality is not None else None
        if found is not None:
            values[place] = f"{found.value:.3f}"
            notes[place] = f"{found.low:.3f} to {found.high:.3f}"
    meaning = "a classifier tells samples from data: 0.5 it cannot, 1 it can; 95% interval"
    return [_row("C2ST AUC", meaning, values, notes)] if any(values) else []


def _engines(flows: Sequence[FlowFigures]) -> list[FigureRow]:
    """Returns a row with what computed each flow, where that differs: then their times do, too."""
    names = [ENGINES[flow.engine] for flow in flows]
    return [_row("computed by", UNALIKE, names)] if len(set(names)) > 1 else []


def _by_jacobi(flows: Sequence[FlowFigures], of: str) -> list[FigureRow]:
    """Returns a row with samples by Jacobi iterations, of flows that sample column by column."""
    rates = [flow.jacobi_per_second for flow in flows]
    if not any(rates):
        return []
    ratios = [_ratio(rate, flows[0].samples_per_second) if rate else "" for rate in rates]
    meaning = f"column by column otherwise; ratio to {of} samples/s without"
    values = [f"{rate:,.0f}" if rate else "" for rate in rates]
    return [_row("samples/s by jacobi", meaning, values, [each and f"{each}x" for each in ratios])]


def _divergences(flows: Sequence[FlowFigures], of: str) -> list[FigureRow]:
    """Returns rows with how far flows are from the first by samples, where it was measured."""
    measured = [flow.divergence for flow in flows]
    sizes = sorted({each.samples for each in measured if each is not None})
    if not sizes:
        return []
    drawn = f"{' and '.join(f'{size:,}' for size in sizes)} samples"
    rows = (
        ("KL from", "from_teacher", f"nats, over {drawn} of {of.removesuffix(APOSTROPHE)}"),
        ("KL to", "to_teacher", f"nats, over {drawn} of each flow"),
        ("effective samples", "effective", f"share of {drawn} for {of.removesuffix(APOSTROPHE)}"),
    )
    found = []
    for name, attribute, meaning in rows:
        values, notes = [], []
        for each in measured:
            figure = None if each is None else getattr(each, attribute)
            shown = percent if attribute == "effective" else "{:.3f}".format
            values.append("" if figure is None else shown(figure.estimate))
            known = "" if figure is None else f"{shown(figure.low)} to {shown(figure.high)}"
            notes.append(known)
        found.append(_row(name, f"{meaning}; 95% interval", values, notes))
    return found


def _differences(figures: Mapping[str, FlowFigures]) -> list[FigureRow]:
    """Returns rows with each flow's difference from those before it, where they are known."""
    found, flows = [], list(figures.values())
    for place, (label, other) in enumerate(list(figures.items())[:-1]):
        values, notes = [""] * len(flows), [""] * len(flows)
        for number, flow in enumerate(flows[place + 1 :], place + 1):
            if flow.by_group and other.by_group:
                value = difference(flow.by_group, other.by_group)
                values[number] = f"{value.estimate:+.3f}"
                notes[number] = f"± {value.error:.3f}" if value.known else ""
        if any(values):
            found.append(_row(f"minus {label}", "on the same rows", values, notes))
    return found


def gap_text(figures: Mapping[str, FlowFigures]) -> str:
    """Returns the share of the gap that the distilled student closes, with its interval."""
    share = gap_share(figures)
    if math.isnan(share.estimate):
        return "there is no gap"
    return in_percent(share, percent) if figures["plain"].by_group else percent(share.estimate)


def differences(figures: Mapping[str, FlowFigures]) -> list[str]:
    """Returns a line for each flow's difference from those before it, where they are known."""
    found = []
    for row in _differences(figures):
        for label, cell in zip(figures, row.cells, strict=True):
            if cell.value:
                found.append(f"{label} {row.name}: {cell.value} {cell.note}".rstrip())
    return found


def gap_share(figures: Mapping[str, FlowFigures]) -> Interval:
    """Returns the share of the gap that the distilled student closes; NaN if there is none."""
    teacher, plain, distilled = by_role(figures).values()
    if teacher.by_group and plain.by_group and distilled.by_group:
        return gap_interval(teacher.by_group, plain.by_group, distilled.by_group)
    means = (np.array([flow.bits_per_dim]) for flow in (teacher, plain, distilled))
    return Interval(float(gaps_closed(*means)[0]))


def _row(name: str, meaning: str, values: list[str], notes: list[str] | None = None) -> FigureRow:
    pairs = zip(values, notes or [""] * len(values), strict=True)
    return FigureRow(name, meaning, [Cell(value, note) for value, note in pairs])


def _better_student(teacher: FlowFigures, plain: FlowFigures, distilled: FlowFigures) -> str:
    if distilled.bits_per_dim < plain.bits_per_dim:
        begin, better = "The distilled student is the better of the two: it", distilled
    elif distilled.bits_per_dim > plain.bits_per_dim:
        begin, better = "The plain student is the better of the two: it", plain
    else:
        begin, better = "Both students are equally good; the plain one", plain
    return f"{begin} {' and '.join(_savings(better, teacher))}."


def _savings(flow: FlowFigures, teacher: FlowFigures, whose: str = "the teacher's") -> list[str]:
    savings = [f"has {percent(flow.parameters / teacher.parameters)} of {whose} parameters"]
    if ratio := _ratio(flow.log_prob_per_second, teacher.log_prob_per_second):
        savings.append(f"computes log-likelihoods {ratio} times as fast")
    return savings


def percent(share: float) -> str:
    """Returns a share in percent; only 1 is rounded to 100%, and only 0 to 0%.

    Examples:
        >>> percent(0.999), percent(0.001), percent(0.25)
        ('99%', 'less than 1%', '25%')
    """
    if 0 < share < 0.01:
        return "less than 1%"
    return f"{min(share, 0.99) if share < 1 else share:.0%}"


def _ratio(rate: float, of: float) -> str:
    """Returns how many times `of` a rate is; nothing where that has no meaning."""
    if not (math.isfinite(rate) and math.isfinite(of) and of > 0):
        return ""
    ratio = rate / of
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"
