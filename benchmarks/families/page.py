"""docs/results/families.md: which family to take, and what each takes beside other libraries."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import geometric_mean
from typing import Any

from benchmarks.families.cells import FAMILIES
from benchmarks.families.one_pass import PEER, TOLERANCE
from benchmarks.performance.measure import ACTIONS
from benchmarks.performance.page import quiet

Found = dict[str, Any]
MEAN_AIM, CELL_AIM, FORM_AIM = 1.3, 0.9, 2.0
JACOBI_AIM, STUDENT_AIM = 3, 100
STUDY = "[arXiv 2302.12024](https://arxiv.org/abs/2302.12024)"
# What is fast in each, and what it is for; in the order of FAMILIES.
CHOICES = {
    "coupling": ("`kind: coupling`", "the fastest in both directions; the least accurate for its "
                 "size, so more steps; pictures have Glow, of the same couplings"),
    "coupling spline": ("`kind: coupling`, `transform: spline`", "what is served, both densities "
                        "and samples; the usual student of an autoregressive teacher"),
    "autoregressive": ("`kind: autoregressive`, `transform: affine`", "densities alone, cheaply; "
                       "columns near a Gaussian given the others"),
    "autoregressive spline": ("`kind: autoregressive`", "the teacher of a table, and densities "
                              "where accuracy counts; distil it for samples"),
    "inverse autoregressive": ("`kind: autoregressive`, `transform: affine`, `direction: sampling`",
                               "samples alone, of a model that learns from samples of another, "
                               "whose densities of given rows hardly matter"),
}  # fmt: skip
HEAD = (
    "| columns | log_prob, ms | form | sample, ms | form | step, ms |\n"
    "| --- | --- | --- | --- | --- | --- |"
)


def document(results: Found) -> str:
    """Returns the page."""
    about, cells = results["about"], list(results["cells"].values())
    some = {
        name: sorted(of, key=lambda cell: cell["shape"][0])
        for name in FAMILIES
        if (of := [cell for cell in cells if cell["case"] == name])
    }
    versions = ", ".join(f"{name} {version}" for name, version in about["peers"].items())
    slow = [_slow_teacher(cell) for cell in cells if "ways" in cell]
    return f"""# Which family of flows

`make bench-families`, {results["date"]}: {about["cpu"]}, {about["cores"]} cores,
torch {about["torch"]}, ONNX Runtime {about["onnxruntime"]}, {versions}.

{quiet(cells)}

## To choose

| family | config | one pass | good for |
| --- | --- | --- | --- |
{chr(10).join(_choice(name, some.get(name, [])) for name in FAMILIES)}

*one pass* says which direction is a single pass of each network; the other takes one pass a column
in most libraries, in flowkd about the work of half a pass, column by column. Of accuracy the
literature says, not measured here
({STUDY}, 4 to 400 dimensions): autoregressive splines
are the most accurate. So: train an autoregressive spline as the teacher; where samples are to be
drawn often, or the model is to be small, distil it into a coupling of splines, which is one pass
both ways; take affine couplings where time counts most.

## In time

{_sizes(some)}

{chr(10).join(_in_words(name, of) for name, of in some.items())}
{chr(10).join(_aims(some))}

{chr(10).join(_table(name, of) for name, of in some.items())}
{chr(10).join(slow)}"""


def _choice(name: str, cells: list[Found]) -> str:
    config, purpose = CHOICES[name]
    passes = dict.fromkeys(key for cell in cells for key, one in cell["one_pass"].items() if one)
    return f"| {FAMILIES[name]} | {config} | {', '.join(passes)} | {purpose} |"


def _sizes(some: dict[str, list[Found]]) -> str:
    cells = [cell for of in some.values() for cell in of]
    if not cells:
        return ""
    shares = [
        value / cell["weights"]["flowkd"] for cell in cells for value in cell["weights"].values()
    ]
    return f"""Rows of a call: {cells[0]["batch"]}; one thread, time of the CPU; 5 steps, two hidden
layers of {cells[0]["width"]} units, 8 bins in all libraries, whose weights are {min(shares):.2f} to
{max(shares):.2f} times as many as flowkd's. *x* is how many times as long the fastest other library
takes in the same rounds, the median; below 1 flowkd is behind. *form* is the same for
`flowkd.for_inference(flow)`. A step is the forward and backward pass of log_prob. Calls that take
long have 3 rounds, the others up to 25."""


def _ahead(cells: Iterable[Found], key: str) -> list[tuple[float, str]]:
    """Returns how far flowkd is ahead in each action of some cells, with what it is."""
    return [
        (each[key][1], f"{action}, {cell['shape'][0]} columns: {each[key][1]:.2f} times "
         f"{each['fastest_peer']}")
        for cell in cells
        for action, each in cell["actions"].items()
        if each[key]
    ]  # fmt: skip


def _mean(values: list[tuple[float, str]]) -> float:
    return geometric_mean(value for value, _ in values)


def _in_words(name: str, cells: list[Found]) -> str:
    behind = [said for value, said in _ahead(cells, "ahead") if value < CELL_AIM]
    each = ", ".join(
        f"{action} {geometric_mean(cell['actions'][action]['ahead'][1] for cell in cells):.2f}"
        for action in ACTIONS
    )
    return (
        f"- **{FAMILIES[name]}**, geometric means: {each} times as fast as the fastest other; form "
        f"for inference {_mean(_ahead(cells, 'form_ahead')):.2f} times."
        + (f" Below {CELL_AIM}: {'; '.join(behind)}." if behind else "")
    )


def _aims(some: dict[str, list[Found]]) -> list[str]:
    """Returns whether each aim is met, over all that was measured."""
    cells = [cell for of in some.values() for cell in of]
    if not cells:
        return []
    plain, form = _ahead(cells, "ahead"), _ahead(cells, "form_ahead")
    behind = sum(value < CELL_AIM for value, _ in plain)
    lines = {
        f"at least {MEAN_AIM} times the fastest other, geometric mean": (
            _mean(plain) >= MEAN_AIM, f"{_mean(plain):.2f}"),
        f"never below {CELL_AIM}": (not behind, f"{behind} of {len(plain)} below"),
        f"form at least {FORM_AIM:g} times, geometric mean": (
            _mean(form) >= FORM_AIM, f"{_mean(form):.2f}"),
    }  # fmt: skip
    return [
        f"- aim, {aim}: {'met' if met else '**missed**'}, {value}."
        for aim, (met, value) in lines.items()
    ]


def _table(name: str, cells: list[Found]) -> str:
    rows = "\n".join(_row(cell) for cell in cells)
    engines = ", ".join(sorted({cell["engine"] for cell in cells}))
    return f"### {FAMILIES[name]}\n\nEngine of the form: {engines}.\n\n{HEAD}\n{rows}\n"


def _row(cell: Found) -> str:
    entries = [str(cell["shape"][0])]
    for action in ACTIONS:
        each = cell["actions"][action]
        low, middle, high = each["ahead"]
        ours, theirs = each["ms"]["flowkd"], each["ms"][each["fastest_peer"]]
        other = f"{each['fastest_peer']} {theirs:.2f}"
        entries.append(f"{ours:.2f}, {other}: {middle:.2f}x ({low:.2f} to {high:.2f})")
        if each["form_ahead"]:
            entries.append(f"{each['form_ahead'][1]:.2f}x")
    return f"| {' | '.join(entries)} |"


def _slow_teacher(cell: Found) -> str:
    ways, weights = cell["ways"], cell["weights"]
    share = weights["student"] / weights["teacher"]
    names = {
        PEER: f"{PEER}'s NSF, column by column",
        "exact": "flowkd's, exact, each unit once",
        "jacobi": f"flowkd's, Jacobi iterations to {TOLERANCE:g}",
        "student": f"a one-pass student, {share:.0%} of the weights",
    }
    rows = "\n".join(
        f"| {said} | {ways[name]['ms']:.2f} | {ways[name]['faster'][1]:.1f} | "
        f"{ways[name]['than_exact'][1]:.2f} |"
        for name, said in names.items()
    )
    jacobi, student = ways["jacobi"], ways["student"]["faster"][1]
    lines = [
        f"- aim, Jacobi at least {JACOBI_AIM} times as fast as {PEER}'s sampling: "
        f"{_met(jacobi['faster'][1] >= JACOBI_AIM)}.",
        f"- aim, the student at least {STUDENT_AIM} times: {_met(student >= STUDENT_AIM)}.",
    ]
    if jacobi["than_exact"][1] < JACOBI_AIM:
        lines.append(
            f"- Jacobi is {jacobi['than_exact'][1]:.2f} times as fast as flowkd's own exact "
            "inverse, which computes each unit once where an iteration computes them all: on a CPU "
            "the exact one is as good a choice."
        )
    iterations = ", ".join(map(str, cell["iterations"]))
    return f"""## A teacher that is slow to sample

[zuko #2](https://github.com/probabilists/zuko/issues/2): an NSF of {cell["columns"]} columns,
{cell["depth"]} steps, two layers of {cell["width"]}, the library's own defaults; {cell["rows"]}
samples, one thread, time of the CPU. flowkd's is trained for {cell["steps"]} steps on columns that
hang on those before them, on which it is {cell["log_prob_gained"]:.0f} nats a row above columns
taken alone: an untrained flow needs hardly an iteration. Jacobi took {iterations} iterations in its
steps, and is {cell["away"]:.0e} away from the exact samples at most. The student's time is that of
its form for inference, untrained: what it learns does not change it. How good students are is on
other pages.

| samples by | ms | times {PEER}'s speed | times exact |
| --- | --- | --- | --- |
{rows}

{chr(10).join(lines)}
"""


def _met(met: bool) -> str:
    return "met" if met else "**missed**"
