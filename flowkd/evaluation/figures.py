"""The figures of one flow, as an evaluation keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowkd.evaluation.divergence import Divergence
from flowkd.evaluation.intervals import GroupBits
from flowkd.evaluation.quality.measure import Quality


@dataclass(frozen=True)
class FlowFigures:
    """What is reported of one flow.

    All of it is of the flow as it is served: in its form for inference, computed by its engine.

    Attributes:
        reference: Reference of the artifact, its alias replaced by the version that it meant.
        bits_per_dim: Mean over the split.
        standard_error: Standard error of bits_per_dim, over groups of rows.
        parameters: Number of trainable values.
        log_prob_per_second: Examples whose log_prob is computed in a second.
        samples_per_second: Examples that are sampled in a second.
        jacobi_per_second: The same by Jacobi iterations to their default tolerance, of a flow that
            otherwise samples column by column; None of others.
        steps: Optimiser steps of its training.
        round_trip: How far it is from undoing itself as it is served, on rows and on samples:
            flowkd.flows.round_trip.
        split: Name of the split.
        created: When the artifact was written, ISO 8601.
        by_group: Bits per dimension on it by group, from which errors of differences come; None
            where only the means are known.
        validation: The same on the split `val`; None if that is the split compared on.
        quality: How far its samples are from the split's rows; None where it was not measured.
        divergence: How far it is from the first flow, by samples of both; None of that itself, of
            pictures, and of flows of another context.
        family: Its family, in words.
        passes: Of its networks that log_prob and samples take, in words.
        precision: In which its networks computed throughput and quality.
        chosen: How that precision was found, in words; None where it was given.
        engine: What computed them, `onnx` or `torch`.
    """

    reference: str
    bits_per_dim: float
    standard_error: float
    parameters: int
    log_prob_per_second: float
    samples_per_second: float
    steps: int
    round_trip: float
    split: str = "test"
    created: str = ""
    by_group: GroupBits | None = None
    validation: GroupBits | None = None
    quality: Quality | None = None
    divergence: Divergence | None = None
    family: str = ""
    passes: str = ""
    jacobi_per_second: float | None = None
    precision: str = "float32"
    chosen: str | None = None
    engine: str = "torch"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> FlowFigures:
        """Returns what `asdict` made of them."""
        readers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "by_group": GroupBits.read,
            "validation": GroupBits.read,
            "quality": Quality.read,
            "divergence": Divergence.read,
        }
        parts = {
            key: read(values[key]) for key, read in readers.items() if values.get(key) is not None
        }
        return cls(**{**values, **parts})
