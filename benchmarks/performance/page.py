"""docs/results/performance.md: every cell, and what they come to."""

from __future__ import annotations

from pathlib import Path
from statistics import geometric_mean
from typing import Any

from benchmarks.performance.measure import ACTIONS, LEAST_ROUNDS, OURS, TURN_SECONDS
from benchmarks.performance.plots import picture

FOLDER = Path("docs/results")
LOG = Path("docs/explanation/performance-log.md")
LINK = "What was tried to get there: [performance-log](../explanation/performance-log.md).\n"
INFERENCE = ("log_prob", "sample")
Found = dict[str, Any]
NOISY = 0.2  # of the CPUs, taken by others meanwhile
# Of the floor: what inference and a training step of pictures may take on one thread.
AIMS = {("infer", 1): 0.75, ("infer", 16): 0.90, ("infer", 256): 0.90,
        ("train", 1): 1.5, ("train", 16): 1.2}  # fmt: skip
HEAD = (
    "| width | batch | threads | networks alone, ms | log_prob | sample | training step |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def document(results: Found) -> str:
    """Returns the page, and draws its pictures."""
    cells, about = list(results["cells"].values()), results["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["peers"].items())
    flows = list(dict.fromkeys((cell["case"], tuple(cell["shape"])) for cell in cells))
    parts = [_flow(case, [c for c in cells if (c["case"], tuple(c["shape"])) == (case, shape)])
             for case, shape in flows]  # fmt: skip
    return f"""# Performance

`make bench-all`, {results["date"]}: {about["cpu"]}, {about["cores"]} cores, torch {about["torch"]},
ONNX Runtime {about["onnxruntime"]}, {versions}.

{quiet(cells)}

Each figure is a ratio of times taken in the same rounds, in one process: in each round flowkd, the
other libraries and the networks alone have their turn, and every other round goes backwards. A turn
is one call, or as many, one after another, as take {1000 * TURN_SECONDS:.0f} ms. Times are those of
the CPU on one thread, which other load changes least, and those that pass on two. *of the floor* is
the time over that of the coupling networks alone in float32 PyTorch, on inputs of the shapes that
they get in the flow, in the faster of its memory layouts; the median over at least
{LEAST_ROUNDS} rounds and, in brackets, the quartiles. *x* is how many times as long the fastest
other library takes: below 1 flowkd is behind. flowkd's log_prob and sampling are those of
`flowkd.for_inference(flow)`; a training step is its forward and backward pass, without the
optimiser, which is the same for all. All flows have the same number of couplings and networks of
the same size; samples are drawn from new noise.

{chr(10).join(in_words(cells))}

{LINK if LOG.exists() else ""}
{chr(10).join(parts)}"""


def quiet(cells: list[Found]) -> str:
    """Returns how much others took of the machine meanwhile."""
    shares = sorted(cell["others"] for cell in cells)
    loads = [cell["load"] for cell in cells]
    text = (
        f"Meanwhile other processes took {shares[len(shares) // 2]:.2f} CPUs in the median cell, "
        f"{shares[-1]:.2f} at most; load {min(loads):.1f} to {max(loads):.1f}."
    )
    if shares[len(shares) // 2] > NOISY:
        text += " **The machine was not quiet: ratios mean little, times nothing.**"
    return text


def in_words(cells: list[Found]) -> list[str]:
    """Returns what the cells come to, a line each."""
    lines = []
    for name in dict.fromkeys(cell["case"] for cell in cells):
        some = [cell for cell in cells if cell["case"] == name]
        small = [cell for cell in some if cell["batch"] == 1]
        said = [f"inference {mean_ahead(some, INFERENCE):.2f} times as fast as the fastest other"]
        if small:
            said.append(f"{mean_ahead(small, INFERENCE):.2f} times at batch 1")
        said.append(f"training steps {mean_ahead(some, ('train',)):.2f} times")
        lines.append(f"- {name}, geometric means of {len(some)} cells: {', '.join(said)}.")
        behind = [
            f"{action}, width {cell['width']}, batch {cell['batch']}, {cell['threads']} "
            f"thread{'s' if cell['threads'] > 1 else ''}: {each['ahead'][1]:.2f} times "
            f"{each['fastest_peer']}"
            for cell in some
            for action, each in cell["actions"].items()
            if each["ahead"][1] < 1
        ]
        if behind:
            lines.append(f"    - behind in {len(behind)} of {3 * len(some)}: {'; '.join(behind)}.")
        else:
            lines.append(f"    - ahead in all of {3 * len(some)}.")
    return lines + aims(cells)


def aims(cells: list[Found]) -> list[str]:
    """Returns a line for each aim of pictures on one thread, with the cells that miss it."""
    lines = []
    for (what, batch), most in AIMS.items():
        found = [
            (each["over_floor"][OURS][1], f"{action} at width {cell['width']}")
            for cell in cells
            if (cell["case"], cell["threads"], cell["batch"]) == ("glow", 1, batch)
            for action, each in cell["actions"].items()
            if (action == "train") == (what == "train")
        ]
        if found:
            missed = [f"{name} {value:.2f}" for value, name in found if value > most]
            doing = "training steps" if what == "train" else "inference"
            met = f"missed by {', '.join(missed)}" if missed else "met"
            aim = f"at most {most:.2f} of the floor for {doing} at batch {batch}, 1 thread"
            lines.append(f"- glow, aim of {aim}: {met}.")
    return lines


def mean_ahead(cells: list[Found], actions: tuple[str, ...]) -> float:
    """Returns the geometric mean of how many times as long the fastest other takes."""
    return geometric_mean(
        cell["actions"][action]["ahead"][1] for cell in cells for action in actions
    )


def _flow(case: str, cells: list[Found]) -> str:
    first = cells[0]
    shape = "x".join(map(str, first["shape"]))
    cells = sorted(cells, key=lambda cell: (cell["threads"], cell["width"], cell["batch"]))
    single = [cell for cell in cells if cell["threads"] == cells[0]["threads"]]
    name = f"performance-{case.replace(' ', '-')}.png"
    FOLDER.joinpath(name).write_bytes(picture(single))
    fewer = [cell for cell in cells if cell["rows"] < cell["batch"]]
    notes = "".join(
        f"\nWidth {cell['width']}, batch {cell['batch']}, {cell['threads']} threads: timed with "
        f"{cell['rows']} rows a call, {cell['rounds']} rounds.\n"
        for cell in fewer
    )
    engines = ", ".join(sorted({cell["engine"] for cell in cells}))
    rows = "\n".join(_row(cell) for cell in cells)
    return f"""## {case}, {shape}

Engine of inference: {engines}.
{notes}
![{case}: time over the networks alone]({name})

{HEAD}
{rows}
"""


def _row(cell: Found) -> str:
    actions = cell["actions"]
    floors = f"{actions['log_prob']['floor_ms']:.2f}; step {actions['train']['floor_ms']:.2f}"
    entries = []
    for action in ACTIONS:
        low, middle, high = actions[action]["over_floor"][OURS]
        each = actions[action]
        entries.append(
            f"{middle:.2f} ({low:.2f} to {high:.2f}) of the floor, {each['ahead'][1]:.2f}x "
            f"{each['fastest_peer']}"
        )
    where = f"{cell['width']} | {cell['batch']} | {cell['threads']}"
    return f"| {where} | {floors} | {' | '.join(entries)} |"
