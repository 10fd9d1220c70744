"""The model card of an artifact, its README.md, and its lineage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowkd.config import Config
from flowkd.flows.flow import Flow


class Lineage(Config):
    """What an artifact was made from; None for what is unknown or does not apply.

    Attributes:
        dataset: Name of the data set.
        run: Name of the training run.
        teacher: Reference of a student's teacher.
        search: Name of the search that chose it.
        commit: Git commit of the code.
        bins: Number of integer values of the data, if they were dequantised.
    """

    dataset: str | None = None
    run: str | None = None
    teacher: str | None = None
    search: str | None = None
    commit: str | None = None
    bins: int | None = None


def model_card(
    folder: str,
    flow: Flow,
    metrics: dict[str, Any],
    lineage: Lineage,
    remarks: Sequence[str] = (),
) -> str:
    """Returns Markdown that says what an artifact is, its metrics, and what it was made from."""
    parameters = sum(parameter.numel() for parameter in flow.parameters())
    rows = [f"| {name} | {value} |" for name, value in metrics.items()]
    origin = [f"- {key}: {value}" for key, value in lineage.model_dump().items() if value]
    return "\n".join(
        [
            f"# {folder}",
            "",
            f"A normalizing flow over events of shape {flow.event_shape} with {parameters} "
            f"parameters, conditioned on {flow.context}.",
            "",
            *(line for remark in remarks for line in (f"**Note:** {remark}", "")),
            *(["| figure | value |", "| --- | --- |", *rows, ""] if rows else []),
            *(["Made from:", "", *origin, ""] if origin else []),
            "Load it with `flowkd.registry.artifacts.load_artifact(store, reference)`.",
            "",
        ]
    )
