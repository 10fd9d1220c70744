"""A masked network whose inputs become known one after the other, each unit computed once.

Units are sorted by level: by how many columns must be known, one by one, before a unit can be
computed. To go on by a level then takes one small matrix product a layer, of the units that have
become computable with all that are known; all levels together take about half of one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from flowkd.nn.made import ACTIVATIONS, MADE, MASKED, Activation, Masked, Premasked, Residual

Undo = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Compute = Callable[[list[Tensor], int, int], None]


class Units:
    """The units of a layer, sorted by level.

    Args:
        levels: Of each unit, as the network numbers them.
        count: How many levels are computed.

    Attributes:
        levels: As given.
        numbers: Those of the units, sorted by level; None where they are so already.
        below: How many units are of a level below 0, 1, and on.
    """

    def __init__(self, levels: Tensor, count: int) -> None:
        self.levels = levels
        order = levels.argsort(stable=True)
        self.numbers = None if torch.equal(order, torch.arange(len(order))) else order
        self.below = torch.searchsorted(levels[order], torch.arange(count + 2)).tolist()

    def places(self, other: Units) -> Tensor | None:
        """Returns where in this order each unit of another order lies; None for the same order."""
        here, there = (
            torch.arange(len(each.levels)) if each.numbers is None else each.numbers
            for each in (self, other)
        )  # fmt: skip
        return None if torch.equal(here, there) else here.argsort()[there]


def _in_place(part: Activation) -> Callable[[Tensor], Tensor]:
    """Returns an activation that writes over what it is given."""
    known = {"relu": torch.relu_, "tanh": torch.tanh_, "elu": functional.elu_}
    plain = ACTIVATIONS[part.name]
    return known.get(part.name, lambda values: values.copy_(plain(values)))


def _taken(values: Tensor, numbers: Tensor | None, dim: int = 0) -> Tensor:
    return values if numbers is None else values.index_select(dim, numbers.to(values.device))


class Weights:
    """A layer's weights, (O, I), and biases, (O,), sorted; its parts are cut once."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self.bias = weight, bias
        self._parts: dict[tuple[int, int, int], Tensor] = {}

    def part(self, start: int, stop: int, count: int) -> Tensor:
        """Returns the transposed weights of some units, and of the first inputs."""
        key = start, stop, count
        found = self._parts.get(key)
        if found is None:
            found = self._parts[key] = self._weight[start:stop, :count].T.contiguous()
        return found


@dataclass
class Product:
    """A Masked layer: its units wait for all of the source's that are of lower levels, or theirs.

    Attributes:
        layer: What it does the same as.
        source: Number of the buffer that it reads.
        target: Number of the buffer that it writes.
        inputs: Of the source.
        units: Of the target.
        rows: Numbers of the layer's outputs in the order of the target; None for the layer's.
        activation: Of what it makes; default none.
    """

    layer: Masked | Premasked
    source: int
    target: int
    inputs: Units
    units: Units
    rows: Tensor | None
    activation: Callable[[Tensor], Tensor] | None = None

    def weights(self) -> Weights:
        """Returns the weights as they are, in the order of the units."""
        weight = _taken(self.layer.masked_weight().detach(), self.rows)
        return Weights(
            _taken(weight, self.inputs.numbers, 1), _taken(self.layer.bias.detach(), self.rows)
        )

    def bind(self, context: Tensor | None, weights: Weights | None) -> Compute:
        """Returns what computes the units of levels lo..hi-1, for a context."""
        assert weights is not None
        base, added = weights.bias, self.layer.of_context(context)
        if added is not None:
            base = base + _taken(added, self.rows, 1)
        source, target, activation = self.source, self.target, self.activation
        known, mine = self.inputs.below, self.units.below
        each = base.shape[-1] // len(self.units.levels)

        def compute(buffers: list[Tensor], lo: int, hi: int) -> None:
            start, stop, count = each * mine[lo], each * mine[hi], known[hi]
            if start == stop:
                return
            part, given = base[..., start:stop], buffers[source][:, :count]
            made = buffers[target][:, start:stop]
            torch.addmm(part, given, weights.part(start, stop, count), out=made)
            if activation is not None:
                activation(made)

        return compute


@dataclass
class Applied:
    """An Activation of units that are read elsewhere, too."""

    function: Callable[[Tensor], Tensor]
    source: int
    target: int
    units: Units

    def bind(self, context: Tensor | None) -> Compute:
        """Returns what computes the units of levels lo..hi-1."""
        below = self.units.below

        def compute(buffers: list[Tensor], lo: int, hi: int) -> None:
            part = slice(below[lo], below[hi])
            buffers[self.target][:, part] = self.function(buffers[self.source][:, part])

        return compute


@dataclass
class Sum:
    """What a Residual adds to its input, with where the units of both lie."""

    layer: Residual
    source: int
    inner: int
    target: int
    units: Units
    of_source: Tensor | None
    of_inner: Tensor | None

    def bind(self, context: Tensor | None) -> Compute:
        """Returns what computes the units of levels lo..hi-1, for a context."""
        below = self.units.below
        gate = self.layer.gate_of(context)
        if gate is not None:
            gate = _taken(gate, self.units.numbers, 1)

        def read(buffer: Tensor, places: Tensor | None, part: slice) -> Tensor:
            return buffer[:, part] if places is None else buffer[:, places[part].to(buffer.device)]

        def compute(buffers: list[Tensor], lo: int, hi: int) -> None:
            part = slice(below[lo], below[hi])
            inner = read(buffers[self.inner], self.of_inner, part)
            if gate is not None:
                inner = inner * gate[:, part]
            given = read(buffers[self.source], self.of_source, part)
            torch.add(given, inner, out=buffers[self.target][:, part])

        return compute


class Schedule:
    """In which order a MADE's units are computed while its inputs become known.

    Args:
        made: The weights are read when it runs, the masks now.

    Attributes:
        levels: Of the columns.
        count: How many there are.
    """

    def __init__(self, made: MADE) -> None:
        self.levels = made.levels()
        levels = torch.tensor(self.levels)
        self.count = max(self.levels) + 1
        self.columns = Units(levels, self.count)
        self._sizes = [len(levels)]
        self._steps: list[Product | Applied | Sum] = []
        # What comes of a column is computed a level later.
        *parts, last = made.parts
        source, inputs = self._add(parts, 0, Units(levels + 1, self.count))
        assert isinstance(last, MASKED)
        self._each = len(last.mask) // len(levels)
        numbers = (
            torch.arange(len(levels)) if self.columns.numbers is None else self.columns.numbers
        )
        # Level by level, and within one column by column, so that each level's lie together.
        rows = (numbers[:, None] + len(levels) * torch.arange(self._each)).flatten()
        self._output = self._buffer(len(rows))
        self._steps.append(Product(last, source, self._output, inputs, self.columns, rows))

    def _buffer(self, size: int) -> int:
        self._sizes.append(size)
        return len(self._sizes) - 1

    def _add(self, parts: Sequence[object], source: int, units: Units) -> tuple[int, Units]:
        """Adds layers in turn; returns the buffer, and its units, that the last of them writes."""
        for part, before in zip(parts, [None, *parts], strict=False):
            if isinstance(part, MASKED):
                inputs = units
                units = Units((part.mask.cpu().bool() * inputs.levels).amax(1), self.count)
                target = self._buffer(len(units.levels))
                step = Product(part, source, target, inputs, units, units.numbers)
                self._steps.append(step)
                source = target
            elif isinstance(part, Activation) and isinstance(before, MASKED):
                assert isinstance(self._steps[-1], Product)
                self._steps[-1].activation = _in_place(part)
            elif isinstance(part, Activation):
                target = self._buffer(len(units.levels))
                self._steps.append(Applied(ACTIVATIONS[part.name], source, target, units))
                source = target
            elif isinstance(part, Residual):
                inner, of_inner = self._add(list(part.parts), source, units)
                after = Units(torch.maximum(units.levels, of_inner.levels), self.count)
                target = self._buffer(len(after.levels))
                places = units.places(after), of_inner.places(after)
                self._steps.append(Sum(part, source, inner, target, after, *places))
                source, units = target, after
        return source, units

    def weights(self) -> list[Weights | None]:
        """Returns the weights as they are, sorted, for `undo`: once for those that stay."""
        return [step.weights() if isinstance(step, Product) else None for step in self._steps]

    @torch.no_grad()
    def undo(
        self,
        undo: Undo,
        z: Tensor,
        context: Tensor | None,
        *,
        groups: Sequence[tuple[int, int]] | None = None,
        tolerance: float = 0.0,
        weights: list[Weights | None] | None = None,
    ) -> tuple[Tensor, Tensor, int]:
        """Finds x of z: group after group of levels, each by fixed-point iterations within it.

        The first k levels of a group are exact after k iterations, and computed no more.
        Source: Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving, 2021,
        https://arxiv.org/abs/2002.03629: one group is Jacobi's, several are Gauss-Seidel's method.

        Args:
            undo: Maps values of z, and parameters of them, to x and to log dx/dz.
            z: (B, D).
            context: (B, c), or None.
            groups: Where each group of levels starts, and stops; default each level is one, which
                takes one exact iteration.
            tolerance: A group is done when no value has changed by more.
            weights: Of `weights`; default as they are now.

        Returns:
            x, log|det dx/dz|, (B,), and the number of iterations.
        """
        sorted_weights = self.weights() if weights is None else weights
        steps = [
            step.bind(context, of) if isinstance(step, Product) else step.bind(context)
            for step, of in zip(self._steps, sorted_weights, strict=True)
        ]
        given, below = _taken(z, self.columns.numbers, 1), self.columns.below
        x = given.clone()  # what a group starts from
        buffers = [x, *(z.new_empty(len(z), size) for size in self._sizes[1:])]
        made, each = buffers[self._output], self._each
        slopes, iterations, most = [], 0, torch.finfo(z.dtype).max ** 0.5
        for lo, stop in groups or [(level, level + 1) for level in range(self.count)]:
            for first in range(lo, stop):
                iterations += 1
                start, exact, end = below[first], below[first + 1], below[stop]
                for step in steps:
                    step(buffers, first, stop)
                parameters = made[:, each * start : each * end]
                if end - start > 1:
                    parameters = parameters.unflatten(1, (-1, each)).mT.flatten(1)
                values, slope = undo(given[:, start:end], parameters)
                done = exact == end or bool((values - x[:, start:end]).abs().max() <= tolerance)
                if done:
                    x[:, start:end] = values
                    slopes.append(slope)
                    break
                x[:, start:exact] = values[:, : exact - start]
                # Of what is not exact yet, neither it nor a unit of it may overflow: what is exact
                # is multiplied with both, by weights of 0.
                x[:, exact:end] = values[:, exact - start :].nan_to_num(0.0).clamp(-most, most)
                slopes.append(slope[:, : exact - start])
        if self.columns.numbers is not None:
            x = torch.empty_like(x).index_copy_(1, self.columns.numbers.to(x.device), x)
        return x, torch.cat(slopes, 1).sum(1), iterations
