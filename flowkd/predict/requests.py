"""Requests to a flow, and the checks of what they carry."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import ConfigDict, Field, WithJsonSchema
from torch import Tensor

from flowkd.config import Config
from flowkd.errors import FlowkdError
from flowkd.evaluation.metrics import EVALUATION_SEED
from flowkd.flows.flow import ContextSpec

Seed = Annotated[int, Field(ge=0, lt=2**63)]
ContextValue = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": "A class or a vector: one for all examples, or a list of one for each.",
            "anyOf": [{"type": "integer"}, {"type": "array"}, {"type": "null"}],
        }
    ),
]
Data = Annotated[
    Any, WithJsonSchema({"description": "(N, *event_shape), in data units.", "type": "array"})
]


class QueryError(FlowkdError):
    """A request that does not fit its model, or whose answer is not finite."""


class QueryLimits(Config):
    """How much one request may ask for.

    Attributes:
        n_max: Examples.
        values_max: Examples times the values in one.
    """

    n_max: int = Field(4096, ge=1)
    values_max: int = Field(2**22, ge=1)


class SampleRequest(Config):
    """Asks for n examples; the same seed gives the same ones.

    Attributes:
        n: How many.
        temperature: Scales the latents; below 1 gives likelier examples.
        seed: Of the latents; drawn if left out, and part of the answer.
        context: One for all, or one for each.
    """

    model_config = ConfigDict(strict=True)

    n: int = Field(1, ge=1)
    temperature: float = Field(1.0, gt=0, le=10)
    seed: Seed = Field(default_factory=lambda: secrets.randbelow(2**53))
    context: ContextValue = None


class ScoreRequest(Config):
    """Asks for the log-likelihood of examples.

    Integers, for a model of pixels, are pixel values q: the density is taken at q + u, with u
    uniform on [0, 1) from the seed, and bounds the probability of q from below. With the default
    seed a whole split in one request gives just what flowkd reports of it. Floats are points of
    the continuous space, in data units, and the density is taken there.

    Attributes:
        x: (N, *event_shape), nested lists or an array.
        context: One for all, or one for each.
        seed: Of the noise u.
    """

    model_config = ConfigDict(strict=True)

    x: Data
    context: ContextValue = None
    seed: Seed = EVALUATION_SEED


def check_count(name: str, n: int, dimensions: int, limits: QueryLimits) -> None:
    """Refuses more examples than the limits allow."""
    most = max(1, min(limits.n_max, limits.values_max // dimensions))
    if n > most:
        raise QueryError(
            f"{name}: expected at most {most} examples of {dimensions} values; got {n}; "
            "split them over several requests"
        )


def check_range(x: np.ndarray, low: int, high: int, expected: str) -> None:
    """Refuses values outside [low, high]."""
    least, most = x.min(), x.max()
    if least < low or most > high:
        raise QueryError(f"x: expected {expected}; got values from {least} to {most}")


def read_numbers(value: Any, name: str) -> np.ndarray:
    """Returns nested lists, or an array, as an array of integers or floats."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise QueryError(f"{name}: expected lists of equal lengths, of numbers: {error}") from error
    if array.dtype.kind not in "iuf":
        raise QueryError(f"{name}: expected integers or floats; got {_describe(value, array)}")
    return array


def read_floats(array: np.ndarray, name: str) -> Tensor:
    """Returns an array as float32; refuses NaN, infinities, and what float32 cannot hold."""
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        first = tuple(int(index) for index in bad[0])
        raise QueryError(
            f"{name}: expected finite float32 values; got {array[first]} at {list(first)}, "
            f"{len(bad)} such in all"
        )
    return torch.from_numpy(values)


def read_context(value: Any, spec: ContextSpec, rows: int) -> Tensor | None:
    """Returns what a flow takes as context, one for each of the rows."""
    if value is None and not spec.width:
        return None
    if value is None or not spec.width:
        given = "none" if value is None else "one"
        raise QueryError(f"context: this model expects {_wanted(spec, rows)}; got {given}")
    array = read_numbers(value, "context")
    shape = () if spec.classes else (spec.size,)
    whole = array.dtype.kind in "iu"
    if array.shape not in (shape, (rows, *shape)) or (spec.classes and not whole):
        raise QueryError(
            f"context: this model expects {_wanted(spec, rows)}; got "
            f"{'integers' if whole else 'floats'} of shape {array.shape}"
        )
    if not spec.classes:
        return read_floats(array, "context").expand(rows, spec.size)
    if array.min() < 0 or array.max() >= spec.classes:
        raise QueryError(
            f"context: expected classes 0..{spec.classes - 1}; got {array.min()}..{array.max()}"
        )
    return torch.from_numpy(array.astype(np.int64)).expand(rows)


def _wanted(spec: ContextSpec, rows: int) -> str:
    if spec.classes:
        return f"a class 0..{spec.classes - 1} for all or a list of {rows}"
    if spec.size:
        return f"a vector ({spec.size},) for all or vectors ({rows}, {spec.size})"
    return "no context"


def _describe(value: Any, array: np.ndarray) -> str:
    if array.dtype.kind != "O":
        return f"dtype {array.dtype}"
    kinds = sorted({type(item).__name__ for item in array.flat})
    return ", ".join(kinds) if not isinstance(value, np.ndarray) else "dtype object"
