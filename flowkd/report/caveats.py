"""What a comparison must say before its figures: no better teacher, another order, few groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.intervals import GroupBits, Interval, difference, mean_of

Bits = Mapping[str, GroupBits]
# A mean that moves by so many of its errors without the worst lot of rows is decided by these.
DECIDES = 3.0


def first_lines(figures: Mapping[str, FlowFigures]) -> list[str]:
    """Returns sentences that belong before everything else that is said of these flows.

    They tell a mean that a few rows decide, a teacher that is no better than the plain student, on
    validation or on the split compared on, and flows that the two splits put in different orders.
    """
    splits = _by_split(figures)
    found = [line for name, bits in splits.items() for line in decided_by_few(bits, name)]
    found += [line for name, bits in splits.items() for line in no_better_teacher(bits, name)]
    if len(splits) > 1 and len(figures) > 1:
        found += another_order({name: _means(bits) for name, bits in splits.items()})
    return found


def held_out(figures: Mapping[str, FlowFigures]) -> str:
    """Returns how many rows in how many groups each split compared on has; empty if unknown."""
    counts = {name: next(iter(bits.values())) for name, bits in _by_split(figures).items()}
    return " and ".join(f"{bits} of {name}" for name, bits in reversed(counts.items()))


def few_groups(figures: Mapping[str, FlowFigures]) -> list[str]:
    """Returns a sentence if a split has too few groups for its errors to be relied on, or none."""
    few = {}
    for name, bits in _by_split(figures).items():
        first = next(iter(bits.values()))
        if first.few:
            few[name] = first
    if not few:
        return []
    counts = " and ".join(f"{bits} in {name}" for name, bits in few.items())
    return [
        f"Only {counts}: too few for these errors to be relied on. Add more, or cross-validate "
        f"with `folds` of a study."
    ]


def decided_by_few(bits: Bits, split: str) -> list[str]:
    """Returns a sentence for each flow whose mean on a split is another without its worst rows."""
    lines = []
    for label, found in bits.items():
        if found.few:
            continue
        rest = found.without_worst
        if found.mean - rest.mean > DECIDES * mean_of(rest).error:
            rows = sum(found.rows)
            worst = rows - sum(rest.rows)
            which = "one decides" if worst == 1 else f"some of {worst:,} decide"
            lines.append(
                f"Of the {rows:,} rows of {split}, {which} what {label} has: it is "
                f"{found.mean:.3f} bits per dimension with and {rest.mean:.3f} without. Look at "
                f"those rows, and draw their columns in (`transforms`: asinh, log). If the flow "
                f"is affine, which far from the others can be off by any amount, let splines, "
                f"which are the identity there, take its place (`flow: {{transform: spline}}`)."
            )
    return lines


def no_better_teacher(bits: Bits, split: str) -> list[str]:
    """Returns a sentence if `teacher` is not better than `plain` on a split, or not surely so."""
    teacher, plain = bits.get("teacher"), bits.get("plain")
    if teacher is None or plain is None:
        return []
    return weak_lead(split, teacher.mean, plain.mean, difference(plain, teacher))


def weak_lead(split: str, teacher: float, plain: float, lead: Interval) -> list[str]:
    """Returns a sentence if a teacher is not better than plain students, or not surely so.

    Args:
        split: Name of the split.
        teacher: The teacher's bits per dimension.
        plain: The plain student's.
        lead: plain - teacher, with its error.
    """
    if lead.estimate <= 0:
        sure = "within its error" if lead.nothing else "by more than its error"
        return [
            f"The teacher is no better than the plain student on {split}: {teacher:.3f} "
            f"against {plain:.3f} bits per dimension, a difference of "
            f"{with_error(lead, flip=True)}, {sure}."
        ]
    if lead.known and lead.nothing:
        return [
            f"The teacher's lead over the plain student on {split} is within its error: "
            f"{with_error(lead)} bits per dimension."
        ]
    return []


def another_order(means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns a sentence if splits put flows in different orders, or none.

    Args:
        means: Bits per dimension by split, then by flow.
    """
    orders = {split: sorted(values, key=values.__getitem__) for split, values in means.items()}
    first, *others = orders.values()
    if all(other == first for other in others):
        return []
    listed = "; ".join(f"{', '.join(order)} on {split}" for split, order in orders.items())
    return [f"The splits put the flows in different orders, the best first: {listed}."]


def with_error(value: Interval, *, form: str = ".3f", flip: bool = False) -> str:
    """Returns an estimate with its standard error, as far as it is known; `flip` turns its sign."""
    estimate = -value.estimate if flip else value.estimate
    return f"{estimate:{form}}" + (f" ± {value.error:{form}}" if value.known else "")


def in_percent(value: Interval, percent: Callable[[float], str]) -> str:
    """Returns a share of the gap with its 95% interval, or that this is not known."""
    if not value.known:
        return f"{percent(value.estimate)} (its error is not known: there may be no gap)"
    return f"{percent(value.estimate)} (95% interval {value.low:.0%} to {value.high:.0%})"


def _by_split(figures: Mapping[str, FlowFigures]) -> dict[str, dict[str, GroupBits]]:
    """Returns bits by split and flow: those splits on which all flows are known by group."""
    flows = figures.values()
    known: Sequence[tuple[str, list[GroupBits | None]]] = [
        ("validation", [flow.validation for flow in flows]),
        (next(iter(flows)).split, [flow.by_group for flow in flows]),
    ]
    found = {}
    for split, bits in known:
        whole = [each for each in bits if each is not None]
        if len(whole) == len(figures):
            found[split] = dict(zip(figures, whole, strict=True))
    return found


def _means(bits: Bits) -> dict[str, float]:
    return {label: found.mean for label, found in bits.items()}
