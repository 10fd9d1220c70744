"""Requests for samples and log-densities, and the checks of their fields."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import ConfigDict, Field, WithJsonSchema
from torch import Tensor

from flowkd.config import Config
from flowkd.errors import FlowkdError
from flowkd.evaluation.metrics import EVALUATION_SEED
from flowkd.flows.context import ContextSpec

Seed = Annotated[int, Field(ge=0, lt=2**63)]
# Arrays of any depth: numpy reads them, and checks them at once.
Context = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [{"type": t} for t in ("integer", "number", "string", "array", "object", "null")]}
    ),
]
Data = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": ["number", "array", "object"]}},
                {"type": "object", "additionalProperties": {"type": "array"}},
            ]
        }
    ),
]

_IN_JSON = {"None": "null", "True": "true", "False": "false"}


MAX_NAMES = 50  # of classes, in a message


class InvalidRequestError(FlowkdError):
    """A request that does not fit its model, or whose answer is not finite."""


class RequestLimits(Config):
    """The size that one request may have.

    Attributes:
        max_examples: Examples to draw or to evaluate; default 4096.
        max_values: Numbers in all these examples together; default 2^22.
    """

    max_examples: int = Field(4096, ge=1)
    max_values: int = Field(2**22, ge=1)


class SampleRequest(Config):
    """A request for n examples; the same seed gives the same ones."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    n: int = Field(1, ge=1)
    """Number of examples."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Standard deviation of the latents; below 1 gives likelier examples."""
    seed: Seed = Field(default_factory=lambda: secrets.randbelow(2**53))
    """Seed of the latents; drawn at random where none is given, and returned in the answer."""
    context: Context = None
    """Class or vector of a conditional flow: one for all examples, or a list of one for each."""


class LogProbRequest(Config):
    """A request for the log-density of examples, in nats and in bits per dimension.

    Integers, for a model of pixels, are pixel values q: the density is taken at q + u, with u
    uniform on [0, 1) from the seed, and bounds the probability of q from below. With the default
    seed a whole split in one request gives just what flowkd reports of it. Floats are points of
    the continuous space, in data units, and the density is taken there; but for a table's columns
    of steps, such as counts, to which noise as wide as a step is added from the seed.
    """

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)
    holds_rows: ClassVar[bool] = True

    x: Data
    """Examples, (N, *event_shape), in data units; rows of a table also by name, or its columns."""
    context: Context = None
    """Class or vector of a conditional flow: one for all examples, or a list of one for each."""
    seed: Seed = EVALUATION_SEED
    """Seed of the dequantisation noise u."""


def most_examples(dimensions: int, limits: RequestLimits) -> int:
    """Returns the largest number of examples of so many values that the limits allow."""
    return max(1, min(limits.max_examples, limits.max_values // dimensions))


def check_num_examples(name: str, n: int, dimensions: int, limits: RequestLimits) -> None:
    """Raises InvalidRequestError for more examples than the limits allow."""
    most = most_examples(dimensions, limits)
    if n > most:
        raise InvalidRequestError(
            f"{name}: expected at most {most} examples of {dimensions} values; got {n}; "
            "split them over several requests"
        )


def check_range(x: np.ndarray, low: int, high: int, expected: str) -> None:
    """Raises InvalidRequestError for values outside [low, high]."""
    least, most = x.min(), x.max()
    if least < low or most > high:
        raise InvalidRequestError(f"x: expected {expected}; got values from {least} to {most}")


def read_numbers(
    value: Any, name: str, place: Callable[[tuple[int, ...]], str] | None = None
) -> np.ndarray:
    """Returns nested lists as an array of integers or floats, booleans being neither.

    Args:
        value: An array, or numbers in lists of equal lengths.
        name: What messages call the value.
        place: Returns how they call the number at an index; default the name and the index.

    Raises:
        InvalidRequestError: It holds something else; the message says where.
    """
    place = place or (lambda index: f"{name}{list(index)}" if index else name)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(
            f"{name}: expected lists of equal lengths, of numbers: {error}"
        ) from error
    if array.dtype.kind in "iuf" and (value is array or not _has_booleans(value, array)):
        return array
    for index, leaf in [] if value is array else _leaves(value, array.ndim):
        if not _is_number(leaf):
            text = _IN_JSON.get(repr(leaf), repr(leaf))
            raise InvalidRequestError(
                f"{place(index)}: expected integers or floats; got {text:.40}"
            )
    raise InvalidRequestError(f"{name}: expected integers or floats; got dtype {array.dtype}")


def _is_number(leaf: Any) -> bool:
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        return -(2**63) <= leaf < 2**64
    return isinstance(leaf, float | np.number)


def _has_booleans(value: Any, array: np.ndarray) -> bool:
    """Tells whether there are booleans in nested lists of numbers; as numbers, they are 0 or 1."""
    if not bool(((array == 0) | (array == 1)).any()):
        return False
    leaves = value if array.ndim else [value]
    for _ in range(array.ndim - 1):
        leaves = chain.from_iterable(leaves)
    return not {bool, np.bool_}.isdisjoint(map(type, leaves))


def _leaves(value: Any, depth: int) -> Iterator[tuple[tuple[int, ...], Any]]:
    if not depth:
        yield (), value
        return
    for number, item in enumerate(value):
        for index, leaf in _leaves(item, depth - 1):
            yield (number, *index), leaf


def read_floats(array: np.ndarray, name: str, dtype: type[np.floating[Any]] = np.float32) -> Tensor:
    """Returns an array of values that are finite in float32; raises InvalidRequestError."""
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        bad = np.argwhere(~finite)
        first = tuple(int(index) for index in bad[0])
        raise InvalidRequestError(
            f"{name}: expected finite float32 values; got {array[first]} at {list(first)}, "
            f"{len(bad)} such in all"
        )
    return torch.from_numpy(values if dtype == np.float32 else array.astype(dtype))


def read_context(
    value: Any, spec: ContextSpec, rows: int, class_names: Sequence[str] | None = None
) -> Tensor | None:
    """Returns a context as a flow takes it, one row per example.

    Args:
        value: A class or a vector, or a list of one for each row.
        spec: What the flow takes.
        rows: Number of examples.
        class_names: Names of the classes, by which they may be given; None if they have none.

    Raises:
        InvalidRequestError: Another context than the flow takes.
    """
    if value is None and not spec.width:
        return None
    if value is None or not spec.width:
        given = "none" if value is None else "one"
        raise InvalidRequestError(
            f"context: this model expects {_expected(spec, rows)}; got {given}"
        )
    if spec.classes:
        value = classes_by_name(value, class_names or ())
    array = read_numbers(value, "context")
    shape = () if spec.classes else (spec.size,)
    whole = array.dtype.kind in "iu"
    if array.shape not in (shape, (rows, *shape)) or (spec.classes and not whole):
        raise InvalidRequestError(
            f"context: this model expects {_expected(spec, rows)}; got "
            f"{'integers' if whole else 'floats'} of shape {array.shape}"
        )
    if not spec.classes:
        # The flow subtracts the mean in float64: an offset may need more digits than float32 has.
        return read_floats(array, "context", np.float64).expand(rows, spec.size)
    if array.min() < 0 or array.max() >= spec.classes:
        raise InvalidRequestError(
            f"context: expected classes 0..{spec.classes - 1}; got {array.min()}..{array.max()}"
        )
    return torch.from_numpy(array.astype(np.int64)).expand(rows)


def classes_by_name(value: Any, names: Sequence[str]) -> Any:
    """Returns a context of classes with the names in it, if there are any, as their numbers.

    Where all names are whole numbers, as those of integer labels are, a number is such a name.

    Args:
        value: A class, or a list of classes: by number or by name.
        names: Names of the classes; none where they have none.

    Raises:
        InvalidRequestError: A name that is none of them; the message lists those there are.
    """
    if not names:
        return value
    given = value.tolist() if isinstance(value, np.ndarray) else value
    several = isinstance(given, list | tuple)
    items = given if several else [given]
    numbered = all(name.lstrip("-").isdecimal() for name in names)
    if not any(isinstance(item, str) or numbered for item in items):
        return value
    known = {name: number for number, name in enumerate(names)}
    found = [_class_number(item, known, numbered) for item in items]
    return found if several else found[0]


def _class_number(item: Any, known: Mapping[str, int], numbered: bool) -> Any:
    number = isinstance(item, int) and not isinstance(item, bool)
    if not isinstance(item, str) and not (numbered and number):
        return item
    if str(item) not in known:
        listed = ", ".join(list(known)[:MAX_NAMES])
        more = f", ... ({len(known)} in all)" if len(known) > MAX_NAMES else ""
        raise InvalidRequestError(
            f"context: this model has no class {str(item)[:100]!r}; its classes are: {listed}{more}"
        )
    return known[str(item)]


def _expected(spec: ContextSpec, rows: int) -> str:
    if spec.classes:
        return f"a class 0..{spec.classes - 1} for all or a list of {rows}"
    if spec.size:
        return f"a vector ({spec.size},) for all or vectors ({rows}, {spec.size})"
    return "no context"
