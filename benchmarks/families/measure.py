"""One family at one number of columns: flowkd, its form for inference, and the others in turn."""

from __future__ import annotations

import time
import warnings
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.families.cells import SlowTeacher
from benchmarks.families.one_pass import measure_teacher
from benchmarks.performance.cells import Cell
from benchmarks.performance.measure import (
    ACTIONS,
    OURS,
    Call,
    OthersShare,
    built,
    in_turns,
    learn,
    quartiles,
)

FORM = "form"


def measure(cell: Cell | SlowTeacher, seconds: float) -> dict[str, Any]:
    """Returns what a cell gives, of either kind."""
    if isinstance(cell, SlowTeacher):
        return measure_teacher(cell, seconds)
    return measure_family(cell, seconds)


def measure_family(cell: Cell, seconds: float) -> dict[str, Any]:
    """Returns times of a cell, in milliseconds a call, and how far flowkd is ahead.

    Args:
        cell: What to measure, on one thread.
        seconds: About how long to take; calls that are slow take what they take, a few times.
    """
    warnings.simplefilter("ignore")  # of what other libraries call
    torch.set_num_threads(cell.threads)
    torch.manual_seed(0)
    contenders, forms = built(cell.case, cell.shape, cell.width)
    x = 2 * torch.rand(cell.batch, *cell.shape) - 1
    calls: dict[tuple[str, str], Call] = {}
    for name, each in {**contenders, FORM: forms[OURS]}.items():
        calls["log_prob", name] = torch.no_grad()(partial(each.log_prob, x))
        calls["sample", name] = torch.no_grad()(partial(each.sample, cell.batch))
        if name != FORM:
            calls["train", name] = partial(learn, each, x)
    others = OthersShare()
    times = in_turns(calls, seconds, time.process_time)
    found: dict[str, Any] = {}
    for action in ACTIONS:
        of = {name: values for (what, name), values in times.items() if what == action}
        peer = min((name for name in of if name not in (OURS, FORM)), key=lambda n: median(of[n]))
        found[action] = {
            "ms": {name: round(1000 * median(values), 4) for name, values in of.items()},
            "rounds": len(of[peer]),
            "fastest_peer": peer,
            "ahead": quartiles(of[peer], of[OURS]),
            "form_ahead": quartiles(of[peer], of[FORM]) if FORM in of else None,
        }
    return {
        "others": others.share(),
        "engine": getattr(forms[OURS].module.engine, "name", "torch"),
        "weights": {
            name: sum(value.numel() for value in each.module.parameters() if value.dim() > 1)
            for name, each in contenders.items()
        },
        "one_pass": contenders[OURS].module.one_pass,
        "actions": found,
    }
