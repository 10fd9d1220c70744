"""The model card of an artifact, its README.md, and its lineage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowkd.config import Config
from flowkd.data.facts import DataFacts, named_values
from flowkd.data.groups import FEW_GROUPS
from flowkd.flows.in_words import family_of, passes_of
from flowkd.registry.figures import figures_in_words

if TYPE_CHECKING:
    from flowkd.flows.flow import Flow


class Lineage(Config):
    """What an artifact was made from; None for what is unknown or does not apply.

    Attributes:
        dataset: Name of the data set.
        run: Name of the training run.
        teacher: Reference of a student's teacher.
        search: Name of the search that chose it.
        origin: Library and version, builder, and SHA-256 of the weights that it was converted from.
        commit: Git commit of the code.
        bins: Number of integer values of the data, if they were dequantised.
        groups: Number of groups of rows, by split, that belong together in the data set.
    """

    dataset: str | None = None
    run: str | None = None
    teacher: str | None = None
    search: str | None = None
    origin: str | None = None
    commit: str | None = None
    bins: int | None = None
    groups: dict[str, int] | None = None


def model_card(
    folder: str,
    flow: Flow,
    metrics: dict[str, Any],
    lineage: Lineage,
    data: DataFacts,
    remarks: Sequence[str] = (),
) -> str:
    """Returns Markdown that says what an artifact is, its metrics, and what it was made from."""
    parameters = sum(parameter.numel() for parameter in flow.parameters())
    rows = [f"| {name} | {said} |" for name, said in figures_in_words(metrics).items()]
    known = lineage.model_dump(exclude={"groups"})
    origin = [f"- {key}: {value}" for key, value in known.items() if value]
    return "\n".join(
        [
            f"# {folder}",
            "",
            f"A normalizing flow over {' x '.join(map(str, flow.event_shape))} values with "
            f"{parameters:,} parameters, conditioned on {_context(flow)}. {_directions(flow)}",
            "",
            *_few_groups(lineage),
            *(line for remark in remarks for line in (f"**Note:** {remark}", "")),
            *_values(data),
            *(["| figure | value |", "| --- | --- |", *rows, ""] if rows else []),
            *(["Made from:", "", *origin, ""] if origin else []),
            "Load it with `flowkd.registry.artifacts.load_artifact(store, reference)`.",
            "",
        ]
    )


def _directions(flow: Flow) -> str:
    """Returns what a flow's directions take, and its family, as sentences."""
    family = family_of(flow)
    return f"Family: {family}; {passes_of(flow)}." if family else f"{passes_of(flow)}."


def _context(flow: Flow) -> str:
    """Returns in words what a flow is conditioned on."""
    if flow.context.classes:
        return f"one of {flow.context.classes} classes"
    return f"a vector of {flow.context.size} values" if flow.context.size else "nothing"


def _values(data: DataFacts) -> list[str]:
    """Returns lines that name the values of x and of the context, in their order."""
    lines = [f"- {key}: {words}" for key, words in named_values(data).items()]
    return ["Its values, in their order:", "", *lines, ""] if lines else []


def _few_groups(lineage: Lineage) -> list[str]:
    held_out = {split: n for split, n in (lineage.groups or {}).items() if split != "train"}
    few = [f"{count} in {split}" for split, count in held_out.items() if count < FEW_GROUPS]
    if not few:
        return []
    return [
        f"**Few independent groups of rows: {' and '.join(few)}.** Figures on them are "
        f"uncertain: on others, another flow may be the better one.",
        "",
    ]
