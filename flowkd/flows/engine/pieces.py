"""A flow as calls of pieces: those that are alike are one, which is traced once.

Steps of a flow differ in little but their weights. So these are inputs of a piece, as the state is,
and what is traced does not grow with the number of steps.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.func import functional_call

from flowkd.flows.engine.layers import Exported

# Of what a piece may be kept on this machine: other code changes without a word.
OWN = {"flowkd", "torch", "builtins", "collections"}


class Value(NamedTuple):
    """What a graph computes, by name, with an example of it."""

    name: str
    example: Tensor


class PieceCall(NamedTuple):
    """A piece, what it is called with, and what it makes."""

    piece: int
    inputs: list[str]
    weights: list[str]
    outputs: list[Value]


@dataclass
class Recording:
    """The calls that lead from a graph's inputs to its outputs, in order."""

    inputs: list[Value]
    outputs: list[Value]
    calls: list[PieceCall]


@dataclass
class Distinct:
    """A piece that others are alike to.

    Attributes:
        module: Of the first call.
        values: Examples of what it is called with, None for what is left out.
        weights: Names of those of its tensors that are inputs, and theirs.
        made: How many values it makes.
        structure: What all that are alike share, in bytes, where this is flowkd's and torch's own
            code alone, which does not change without its version; else None.
    """

    module: nn.Module
    values: Sequence[Tensor | None]
    weights: dict[str, Tensor]
    made: int
    structure: bytes | None

    @property
    def inputs(self) -> list[Tensor]:
        """Examples of all inputs: of the values that there are, then weights."""
        return [*(each for each in self.values if each is not None), *self.weights.values()]

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns what it makes of inputs."""
        given = iter(inputs)
        values = tuple(None if each is None else next(given) for each in self.values)
        weights = dict(zip(self.weights, given, strict=True))
        made: tuple[Tensor, ...] = functional_call(self.module, weights, values)
        return made


@dataclass
class Pieces:
    """Takes a form apart into calls.

    Args:
        form: Of a flow.

    Attributes:
        distinct: The pieces that are called.
        weights: The tensors of the form, by name.
    """

    form: Exported
    distinct: list[Distinct] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known: dict[object, int] = {}
        self._names: dict[int, str] = {}
        for name, tensor in (*self.form.named_parameters(), *self.form.named_buffers()):
            self.weights[name], self._names[id(tensor)] = tensor, name

    @torch.no_grad()
    def record(self, direction: str, values: Sequence[Tensor], names: Sequence[str]) -> Recording:
        """Returns the calls of a direction.

        Args:
            direction: `log_prob` or `inverse`.
            values: Examples of its inputs: rows, and their context where there is one.
            names: Of these inputs.
        """
        given = [Value(name, value) for name, value in zip(names, values, strict=True)]
        calls: list[PieceCall] = []

        def call(module: nn.Module, *inputs: Value | None) -> tuple[Value, ...]:
            examples = [None if each is None else each.example for each in inputs]
            made = module(*examples)
            number = self._piece(module, examples, len(made))
            outputs = [Value(f"value{len(calls)}_{place}", each) for place, each in enumerate(made)]
            weights = _floating(module).values()
            calls.append(
                PieceCall(
                    number,
                    [each.name for each in inputs if each is not None],
                    [self._names[id(each)] for each in weights],
                    outputs,
                )
            )
            return tuple(outputs)

        run: Any = getattr(self.form, direction)  # which looks at no value itself
        made = run(given[0], given[1] if len(given) > 1 else None, call)
        return Recording(given, list(made) if direction == "log_prob" else [made], calls)

    def _piece(self, module: nn.Module, values: Sequence[Tensor | None], made: int) -> int:
        weights = _floating(module)
        shapes = [None if each is None else (each.dtype, tuple(each.shape)) for each in values]
        key, own = _structure(module, weights, str(shapes))
        if key not in self._known:
            self._known[key] = len(self.distinct)
            structure = key if own and isinstance(key, bytes) else None
            self.distinct.append(Distinct(module, values, weights, made, structure))
        return self._known[key]


def program_of(pieces: Sequence[Distinct]) -> ExportedProgram:
    """Returns one program of pieces side by side, for any number of rows of each.

    Its inputs are those of the first piece, and so on, and so are its outputs.
    """
    rows: list[dict[int, Any] | None] = []
    for number, piece in enumerate(pieces):
        batch = Dim(f"batch{number}", min=1)  # one of its own, so that none asks another's
        count = len(piece.inputs) - len(piece.weights)
        rows += [{0: batch}] * count + [None] * len(piece.weights)
    # A tensor of each one's own, for tensors that are the same become one input.
    inputs = tuple(torch.empty_like(each) for piece in pieces for each in piece.inputs)
    with torch.no_grad():
        return torch.export.export(
            _All(pieces), inputs, dynamic_shapes={"inputs": tuple(rows)}, strict=False
        )


class _All(nn.Module):
    """Pieces side by side.

    Args:
        pieces: Whose modules are no part of this one, for their weights are inputs.
    """

    def __init__(self, pieces: Sequence[Distinct]) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = iter(inputs)
        made: list[Tensor] = []
        for piece in self.pieces:
            made += piece.run([next(given) for _ in piece.inputs])
        return tuple(made)


def _floating(module: nn.Module) -> dict[str, Tensor]:
    """Returns the tensors that become inputs: an index, say, may say what is computed."""
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: tensor for name, tensor in named if tensor.is_floating_point()}


def _structure(module: nn.Module, weights: dict[str, Tensor], shapes: str) -> tuple[object, bool]:
    """Returns what two modules have in common that compute the same of the same weights.

    That is all that is pickled of them but these weights' values; where one cannot be pickled, it
    is like no other. And whether all code in it is flowkd's or torch's.
    """
    names = {id(tensor): name for name, tensor in weights.items()}
    packages: set[str] = set()

    class Structure(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            if not isinstance(value, Tensor):
                return None
            about = (str(value.dtype), tuple(value.shape))
            if id(value) in names:
                return (names[id(value)], *about)
            return (value.detach().cpu().contiguous().numpy().tobytes(), *about)

        def reducer_override(self, value: Any) -> Any:
            code = value if hasattr(value, "__qualname__") else type(value)
            packages.add(str(code.__module__).partition(".")[0])
            return NotImplemented

    file = io.BytesIO()
    try:
        Structure(file).dump((module, shapes))
    except Exception:  # whatever somebody's own module raises
        return object(), False
    return file.getvalue(), packages <= OWN
