"""Networks under masks: what they make of a column depends on the columns before it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowkd.nn.conditioner import Conditioner

ActivationName = Literal["relu", "elu", "tanh", "silu", "gelu", "leaky_relu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(torch if name == "tanh" else functional, name)
    for name in get_args(ActivationName)
}


class Masked(nn.Module):
    """A linear layer whose weights are masked; a context adds to what it makes, unmasked.

    Args:
        mask: (O, I): where output o may depend on input i.
        context: Size of the context vector; 0 for none.
        activation: Of what the context adds; default none.
        context_bias: Whether what the context adds has a bias of its own.
        kept: Whether the mask is saved with the weights, for one that no order gives again.
    """

    mask: Tensor

    def __init__(
        self,
        mask: Tensor,
        context: int = 0,
        *,
        activation: ActivationName | None = None,
        context_bias: bool = False,
        kept: bool = False,
    ) -> None:
        super().__init__()
        outputs, inputs = mask.shape
        linear = nn.Linear(inputs, outputs)
        self.weight, self.bias = linear.weight, linear.bias
        # As numbers: a product of these with weights takes a third of that of a boolean mask.
        self.register_buffer("mask", mask.bool().to(self.weight), persistent=kept)
        self.context = nn.Linear(context, outputs, bias=context_bias) if context else None
        self.activation = activation

    def masked_weight(self) -> Tensor:
        """Returns the weights, zero where the mask is."""
        return self.weight * self.mask

    def of_context(self, context: Tensor | None) -> Tensor | None:
        """Returns what the context adds, (B, O); None without one."""
        return _of_context(self, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, I) to (B, O)."""
        made = functional.linear(x, self.masked_weight(), self.bias)
        added = self.of_context(context)
        return made if added is None else made + added


class Premasked(nn.Module):
    """A Masked layer for inference: its weights are zero where the mask is, and lie (I, O).

    Args:
        layer: What it does the same as.
    """

    mask: Tensor

    def __init__(self, layer: Masked) -> None:
        super().__init__()
        self.transposed = nn.Parameter(layer.masked_weight().detach().T.contiguous())
        self.bias = layer.bias
        self.register_buffer("mask", layer.mask.bool(), persistent=False)
        self.context, self.activation = layer.context, layer.activation

    def masked_weight(self) -> Tensor:
        """Returns the weights, (O, I)."""
        return self.transposed.T

    def of_context(self, context: Tensor | None) -> Tensor | None:
        """Returns what the context adds, (B, O); None without one."""
        return _of_context(self, context)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, I) to (B, O)."""
        made = torch.addmm(self.bias, x, self.transposed)
        added = self.of_context(context)
        return made if added is None else made + added


def _of_context(layer: Masked | Premasked, context: Tensor | None) -> Tensor | None:
    if layer.context is None:
        return None
    added: Tensor = layer.context(context)
    return added if layer.activation is None else ACTIVATIONS[layer.activation](added)


class Activation(nn.Module):
    """A function of each value by itself.

    Args:
        name: One of ACTIVATIONS.

    Raises:
        ValueError: Another name.
    """

    def __init__(self, name: ActivationName) -> None:
        super().__init__()
        if name not in ACTIVATIONS:
            raise ValueError(f"expected an activation of {', '.join(ACTIVATIONS)}; got {name!r}")
        self.name = name

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, I) to the same shape."""
        return ACTIVATIONS[self.name](x)


class Residual(nn.Module):
    """Adds to its input what layers make of it.

    Args:
        parts: Masked, Activation or Residual, in order; they keep the size.
        gate: (context, units) of a linear map of the context by whose sigmoid the layers' output
            is multiplied; default none.
    """

    def __init__(self, parts: Iterable[nn.Module], gate: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.gate = nn.Linear(*gate) if gate else None

    def gate_of(self, context: Tensor | None) -> Tensor | None:
        """Returns what multiplies the layers' output, (B, units); None without a gate."""
        return None if self.gate is None else torch.sigmoid(self.gate(context))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, I, *rest) to the same shape."""
        inner, gate = x, self.gate_of(context)
        for part in self.parts:
            inner = part(inner, context)
        return x + (inner if gate is None else inner * at_every_place(gate, x))


def at_every_place(values: Tensor, x: Tensor) -> Tensor:
    """Returns values (B, C) in as many dimensions as x, (B, C, *rest), has."""
    return values.view(*values.shape, *[1] * (x.dim() - 2))


MASKED = (Masked, Premasked)


class MADE(Conditioner):
    """Masked layers one after the other: P parameters of each column, from those before it.

    `masked_mlp` builds the usual ones; with layers and masks from elsewhere it holds any network in
    which no column depends on itself.
    Source: MADE, 2015, https://arxiv.org/abs/1502.03509.

    Args:
        parts: Masked, Activation or Residual, in order: the first is a Masked of (., D), the last
            one of (P D, .), parameter by parameter: the first of each column, then the second.

    Raises:
        ValueError: Other sizes, or masks by which a column depends on itself.

    Example:
        >>> MADE([Masked(torch.tensor([[0, 0], [1, 0]]))])(torch.ones(3, 2)).shape
        torch.Size([3, 2])
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        first, last = parts[0], parts[-1]
        if not isinstance(first, MASKED) or not isinstance(last, MASKED):
            raise ValueError("expected a Masked as the first and as the last layer of a MADE")
        self.inputs, outputs = first.mask.shape[1], last.mask.shape[0]
        if not outputs or outputs % self.inputs:
            raise ValueError(
                f"expected a multiple of {self.inputs} outputs, for as many inputs; got {outputs}"
            )
        self.parts = nn.ModuleList(parts)
        self._levels: list[int] | None = None
        self.levels()

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, D) and context (B, c) to (B, P D)."""
        for part in self.parts:
            kept = part(kept, context)
        return kept

    def levels(self) -> list[int]:
        """Returns the level of each of D columns: how many others must be known one by one before.

        Columns of level 0 depend on none, those of level 1 on some of level 0, and on.
        """
        if self._levels is None:
            self._levels = _levels_of_columns(list(self.parts), self.inputs)
        return self._levels

    def premasked(self) -> MADE:
        """Returns a network of the same function that is faster, for inference."""
        found = MADE([_premasked(part) for part in self.parts])
        found._levels = self.levels()
        return found

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._levels = None  # masks from elsewhere come with the weights


def _premasked(part: nn.Module) -> nn.Module:
    if isinstance(part, Masked):
        return Premasked(part)
    if isinstance(part, Residual):
        fast = Residual(_premasked(each) for each in part.parts)
        fast.gate = part.gate
        return fast
    return part


def _levels_of_columns(parts: Sequence[nn.Module], columns: int) -> list[int]:
    depends = torch.eye(columns, dtype=torch.bool)
    for part in parts:
        depends = _depends(part, depends)
    on = depends.view(-1, columns, columns).any(0)
    levels = torch.zeros(columns, dtype=torch.int64)
    for _ in range(columns + 1):
        # What comes of a column is a level above it; what comes of none is at 0.
        waiting = ((levels + 1) * on).amax(1)
        if torch.equal(waiting, levels):
            found: list[int] = levels.tolist()
            return found
        levels = waiting
    raise ValueError("expected masks by which no column depends on itself; got a circle")


def _depends(part: nn.Module, on: Tensor) -> Tensor:
    """Returns which columns a layer's units depend on, for those that its inputs depend on."""
    if isinstance(part, MASKED):
        return part.mask.cpu().float() @ on.float() > 0
    if isinstance(part, Residual):
        inner = on
        for each in part.parts:
            inner = _depends(each, inner)
        return on | inner
    return on


def unit_places(inputs: int, width: int) -> Tensor:
    """Returns the highest place that each of so many hidden units may depend on, (width,)."""
    return torch.arange(width) * max(inputs - 1, 1) // width


def masked_mlp(
    inputs: int,
    outputs: int,
    width: int,
    context: int = 0,
    *,
    hidden: int = 2,
    residual: bool = False,
    order: Sequence[int] | None = None,
    activation: ActivationName = "relu",
) -> MADE:
    """Builds a MADE whose hidden layers' units are spread evenly over the order of the columns.

    Args:
        inputs: D, the columns.
        outputs: P D.
        width: Units of each hidden layer.
        context: Size of the context vector; 0 for none. It is added to the first layer's output,
            and within each residual block.
        hidden: Hidden layers; with `residual`, the first of them and then blocks of two layers.
        residual: Whether layers are residual blocks, activations first.
        order: The place of each column, from 0: one depends on those of lower places; default
            0, 1, and on.
        activation: Between layers.

    Raises:
        ValueError: An order that is no permutation, or an activation that is none.

    Example:
        >>> masked_mlp(3, 6, 8, order=[2, 0, 1]).levels()
        [2, 0, 1]
    """
    places = list(range(inputs)) if order is None else list(order)
    if sorted(places) != list(range(inputs)):
        raise ValueError(f"expected an order, a permutation of 0..{inputs - 1}; got {places}")
    columns, units = torch.tensor(places), unit_places(inputs, width)
    within = units[:, None] >= units
    into = (units[:, None] >= columns) & (inputs > 1)
    parts: list[nn.Module] = [Masked(into, context)]
    for _ in range(hidden - 1):
        if residual:
            block = [Activation(activation), Masked(within, context)]
            parts.append(Residual([*block, Activation(activation), Masked(within)]))
        else:
            parts += [Activation(activation), Masked(within)]
    last = Masked((columns[:, None] > units).repeat(outputs // inputs, 1))
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return MADE([*parts, Activation(activation), last])
