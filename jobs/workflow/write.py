"""Writes the file of a workflow: what was found, with the reason, and all defaults as comments."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Mapping
from typing import Any

import yaml

from flowkd.data.manifest import SPLITS
from flowkd.text import visible
from flowkd.training.choices.default_flow import SIZES
from jobs.workflow.look import Look
from jobs.workflow.sizes import SHARE, Sizes

WIDTH = 100


def workflow_text(
    name: str,
    look: Look,
    sizes: Sizes | str,
    command: str,
    teacher: Mapping[str, Any] | str | None = None,
) -> str:
    """Returns the YAML of a workflow.

    Args:
        name: Of the workflow.
        look: What was found in the data.
        sizes: What the defaults choose, or why none is known.
        command: What does all of it.
        teacher: Its reference, or keys of it that are set; default none.
    """
    lines = [
        *_comment(f"{look.about}.", ""),
        *_comment(f"Everything from import to deployment: {command}", ""),
        *_comment("A line that begins with # is a default, or a hint: remove the # to set it.", ""),
        "",
        f"name: {_scalar(name)}",
        *_data(look),
        "",
        *_runs(sizes, teacher or {}),
        "",
        "evaluate:",
        "  # split: test",
        "  # seconds: 5                      # of measuring throughput",
        "publish:",
        "  # alias: best",
        "# deploy: none                      # instead of the next lines, to end before serving",
        "deploy:",
        "  # port: 8000",
        f"report: {_scalar(f'{name}.html')}",
    ]
    return "\n".join(lines) + "\n"


def _data(look: Look) -> list[str]:
    if isinstance(look.data, str):
        return [f"data: {_scalar(look.data)}", *_remarks(look)]
    lines = ["data:"]
    for key, value in look.data.items():
        why = look.why.get(key, "")
        if key == "drop":
            lines += _with_reason(f"  {key}:", why)
            for column in value:
                lines += _with_reason(f"    - {_scalar(column)}", look.dropped.get(column, ""))
        elif isinstance(value, dict):
            lines += _with_reason(f"  {key}:", why)
            lines += [f"    {_scalar(inner)}: {_scalar(each)}" for inner, each in value.items()]
        else:
            lines += _with_reason(f"  {key}: {_scalar(value)}", why)
    for hint, what in look.hints:
        lines += _with_reason(f"  # {visible(hint)}", what)
    shares = {"val": 0.1, "test": 0.1}
    lines += [f"  # {split}_fraction: {shares[split]}" for split in SPLITS if split in shares]
    return [*lines, *_remarks(look)]


def _with_reason(line: str, why: str) -> list[str]:
    """Returns a line with its reason behind it, or above it where both are too long for one."""
    if not why:
        return [line]
    whole = f"{line}  # {visible(why)}"
    if len(whole) <= WIDTH:
        return [whole]
    indent = line[: len(line) - len(line.lstrip())]
    return [*_comment(visible(why), indent), line]


def _remarks(look: Look) -> list[str]:
    return [line for remark in look.remarks for line in _comment(f"Note: {visible(remark)}", "  ")]


def _runs(sizes: Sizes | str, teacher: Mapping[str, Any] | str) -> list[str]:
    if isinstance(sizes, str):
        return [*_comment(sizes, ""), *_known(teacher), "student:", "  # flow: {}"]
    assert not isinstance(teacher, str)
    fewest, most = sizes.steps
    about = (
        f"An estimate, not a promise: about {sizes.lasts} for all trainings on this "
        f"machine, by a step of the teacher of {sizes.milliseconds:.0f} ms, measured, and "
        f"{fewest:,} to {most:,} steps; each ends by itself when validation gains nothing more."
    )
    return [
        *_comment(about, ""),
        "teacher:",
        *_comment(f"{sizes.why}.", "  "),
        *_comment(f"flow, by the data: {sizes.teacher}; {sizes.parameters:,} parameters", "  "),
        *_teacher(teacher, sizes),
        "  # train: {steps: auto, learning_rate: find}",
        "  # batch_size: 256",
        f"  # scaling: {{cpus: 1}}            # threads; this machine has {os.cpu_count()}",
        "  # seed: 0",
        "student:                            # one that learns from the teacher, one on data alone",
        *_comment(
            f"flow: at most {SHARE:.0%} of the teacher: {sizes.student}; "
            f"{sizes.student_parameters:,} parameters", "  "
        ),
        f"  # objective: {{share: {SHARE}}}        # or {{throughput: 4}}: so many times as fast",
        "  # train: {steps: auto, learning_rate: find}",
        "# plain: true                       # whether one is trained on data alone, to compare",
    ]  # fmt: skip


def _known(teacher: Mapping[str, Any] | str) -> list[str]:
    """Returns the lines of a teacher that is there, of this library or another."""
    if isinstance(teacher, str):
        return [f"teacher: {_scalar(teacher)}"]
    if not teacher:
        return ["teacher:", "  # flow: {}"]
    units = ["  # mean: 0                         # subtracted from the data before it sees them",
             "  # scale: 1                        # what they are divided by then"]  # fmt: skip
    return ["teacher:", *(f"  {key}: {_scalar(value)}" for key, value in teacher.items()), *units]


def _teacher(given: Mapping[str, Any], sizes: Sizes) -> list[str]:
    """Returns the lines of what is set of the teacher, or of other families that may be."""
    if given:
        return [f"  {key}: {_flow_style(value)}" for key, value in given.items()]
    if len(sizes.shape) > 1:
        return []
    lines = [f"  # flow: {_flow_style(sizes.flow)}"]
    return [*lines, *_comment("or another, by `flowkd new --family`: " + ", ".join(SIZES), "  ")]


def _flow_style(value: Any) -> str:
    """Returns a value as YAML in one line.

    >>> _flow_style({"kind": "coupling", "depth": 8})
    '{kind: coupling, depth: 8}'
    """
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow_style(each)}' for key, each in value.items())}}}"
    return _scalar(value)


def _comment(text: str, indent: str) -> list[str]:
    width = WIDTH - len(indent) - 2
    return [f"{indent}# {line}" for line in textwrap.wrap(text, width, break_long_words=False)]


def _scalar(value: Any) -> str:
    """Returns a value as YAML reads it back.

    >>> _scalar("a b"), _scalar("no"), _scalar("x"), _scalar(0.5)
    ('"a b"', '"no"', 'x', '0.5')
    """
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if re.fullmatch(r"[\w./:*-]+", value) and not value.startswith(("-", "*", ":")):
        try:
            if yaml.safe_load(value) == value:
                return value
        except yaml.YAMLError:
            pass
    return json.dumps(value, ensure_ascii=False)
