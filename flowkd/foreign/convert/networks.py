"""Networks of other libraries, step by step, with their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowkd.flows.converted.nets import (
    ActivationStep,
    BesideNet,
    ConstantNet,
    DenseNet,
    LinearStep,
    MaskedNet,
    PictureNet,
    ResidualPictureNet,
    ResidualStep,
)
from flowkd.foreign.convert.parts import Weights, refuse
from flowkd.nn.made import ActivationName

Step = LinearStep | ActivationStep | ResidualStep
FUNCTIONS: dict[Any, ActivationName] = {
    functional.relu: "relu", torch.relu: "relu", torch.relu_: "relu", functional.relu_: "relu",
    functional.elu: "elu", torch.tanh: "tanh", functional.tanh: "tanh", functional.silu: "silu",
    functional.gelu: "gelu", functional.leaky_relu: "leaky_relu",
}  # fmt: skip
# What a module of a class must be like to be an activation by its name.
MODULES: dict[type[nn.Module], tuple[ActivationName, Callable[[Any], bool]]] = {
    nn.ReLU: ("relu", lambda module: True),
    nn.ELU: ("elu", lambda module: module.alpha == 1),
    nn.Tanh: ("tanh", lambda module: True),
    nn.SiLU: ("silu", lambda module: True),
    nn.GELU: ("gelu", lambda module: module.approximate == "none"),
    nn.LeakyReLU: ("leaky_relu", lambda module: module.negative_slope == 0.01),
}


def activation_of(given: Any, name: str) -> ActivationName:
    """Returns the name of a function, or module, that maps each value by itself.

    Raises:
        ConversionError: Another one than flowkd has.
    """
    if isinstance(given, nn.LeakyReLU) and given.negative_slope == 0:
        return "relu"
    if type(given) in MODULES:
        known, fits = MODULES[type(given)]
        if fits(given):
            return known
    if not isinstance(given, nn.Module) and given in FUNCTIONS:
        return FUNCTIONS[given]
    return refuse(
        name, given, f"expected an activation of {', '.join(sorted(set(FUNCTIONS.values())))}"
    )


@dataclass(frozen=True)
class Network:
    """A network as written, with its weights by the names of its module."""

    config: DenseNet | MaskedNet | PictureNet | ResidualPictureNet | ConstantNet | BesideNet
    weights: Weights


@dataclass
class Steps:
    """A network that is put together step by step.

    Args:
        inputs: Values in.
        masked: Whether its linear layers have masks.
    """

    inputs: int
    masked: bool = False
    steps: list[Step] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)

    def linear(
        self,
        weight: Tensor,
        bias: Tensor | None,
        mask: Tensor | None = None,
        context: tuple[Tensor, Tensor | None] | None = None,
        activation: ActivationName | None = None,
    ) -> None:
        """Adds a linear layer; `context` are weight and bias of what a context adds."""
        empty = weight.new_zeros(len(weight))
        prefix = "" if self.masked else "linear."
        found = {f"{prefix}weight": weight, f"{prefix}bias": empty if bias is None else bias}
        if mask is not None:
            found["mask"] = mask.bool()
        if context is not None:
            added, its_bias = context
            found |= {
                "context.weight": added,
                "context.bias": empty if its_bias is None else its_bias,
            }
        step = LinearStep(outputs=len(weight), context=context is not None, activation=activation)
        self._add(step, found)

    def activation(self, name: ActivationName) -> None:
        """Adds an activation."""
        self._add(ActivationStep(name=name), {})

    def residual(self, inner: Steps, gate: tuple[Tensor, Tensor] | None = None) -> None:
        """Adds a residual block; `gate` are weight and bias of a linear map of the context."""
        steps = tuple(step for step in inner.steps if not isinstance(step, ResidualStep))
        found = {f"parts.{key}": value for key, value in inner.named().items()}
        if gate is not None:
            found |= {"gate.weight": gate[0], "gate.bias": gate[1]}
        self._add(ResidualStep(steps=steps, gated=gate is not None), found)

    def _add(self, step: Step, weights: Weights) -> None:
        self.steps.append(step)
        self.weights.append({key: value.detach() for key, value in weights.items()})

    def arrange(self, rows: Tensor, factors: Tensor | None = None) -> None:
        """Puts the outputs in another order, and multiplies them by a factor each, if given."""
        last = max(place for place, step in enumerate(self.steps) if isinstance(step, LinearStep))
        found = {key: value[rows] for key, value in self.weights[last].items()}
        if factors is not None:
            assert last == len(self.steps) - 1
            for key, value in found.items():
                if key != "mask":
                    found[key] = value * factors.to(value).view(-1, *[1] * (value.dim() - 1))
        self.weights[last] = found
        step = self.steps[last]
        assert isinstance(step, LinearStep)
        self.steps[last] = step.model_copy(update={"outputs": len(rows)})

    def select(self, columns: Tensor) -> None:
        """Leaves out all inputs but some, which are 0."""
        found = self.weights[0]
        self.weights[0] = {**found, "linear.weight": found["linear.weight"][:, columns]}
        self.inputs = len(columns)

    def without_scales(self) -> None:
        """Adds outputs of zero, as many as there are: a log-scale for each shift."""
        last = self.steps[-1]
        assert isinstance(last, LinearStep)
        found = self.weights[-1]
        self.weights[-1] = {
            key: torch.cat([value, torch.zeros_like(value)]) for key, value in found.items()
        }
        self.steps[-1] = last.model_copy(update={"outputs": 2 * last.outputs})

    def named(self) -> Weights:
        """Returns all weights, each by its step's number and its own name."""
        return {
            f"{number}.{key}": value
            for number, weights in enumerate(self.weights)
            for key, value in weights.items()
        }

    def network(self) -> Network:
        """Returns the network."""
        kind = MaskedNet if self.masked else DenseNet
        weights = {f"parts.{key}": value for key, value in self.named().items()}
        return Network(kind(inputs=self.inputs, steps=tuple(self.steps)), weights)


def constant(values: Tensor) -> Network:
    """Returns a network that gives every row the same parameters."""
    return Network(ConstantNet(outputs=values.numel()), {"values": values.detach().flatten()})


def beside(networks: Sequence[Network]) -> Network:
    """Returns networks of the same inputs, their outputs one after the other."""
    configs = tuple(
        each.config for each in networks if isinstance(each.config, DenseNet | ConstantNet)
    )
    weights = {
        f"networks.{number}.{key}": value
        for number, each in enumerate(networks)
        for key, value in each.weights.items()
    }
    return Network(BesideNet(networks=configs), weights)


def by_parameter(columns: int, parameters: int) -> Tensor:
    """Returns where, among parameters that lie together for each column, flowkd's order finds them.

    That order is the first parameter of each column, then the second, and on.

    Example:
        >>> by_parameter(2, 3).tolist()
        [0, 3, 1, 4, 2, 5]
    """
    return torch.arange(columns * parameters).view(columns, parameters).T.flatten()


def is_linear(module: nn.Module) -> bool:
    """Tells whether a module is a linear layer, masked or not, that no subclass has changed."""
    kind = type(module)
    ours = kind.__module__ in ("zuko.nn", "nflows.transforms.made", "normflows.nets.made")
    known = kind is nn.Linear or (ours and kind.__name__ in ("Linear", "MaskedLinear"))
    weight = getattr(module, "weight", None)
    return known and isinstance(weight, Tensor) and weight.dim() == 2


def add_modules(steps: Steps, modules: Sequence[Any], name: str, context: int = 0) -> Steps:
    """Adds linear layers and activations of a sequence; the first one's last inputs are a context.

    Raises:
        ConversionError: A module of another kind.
    """
    for number, module in enumerate(modules):
        place = f"{name}.{number}"
        if isinstance(module, nn.Dropout | nn.Identity):
            continue
        if is_linear(module):
            weight, mask = module.weight, getattr(module, "mask", None)
            seen = context if not steps.steps else 0
            own = weight.shape[1] - seen
            if mask is not None:
                weight = weight * mask
            steps.linear(
                weight[:, :own],
                module.bias,
                mask[:, :own] if mask is not None else None,
                (weight[:, own:], None) if seen else None,
            )
        else:
            steps.activation(activation_of(module, place))
    return steps
