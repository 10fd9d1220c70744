"""A normalizing flow: a chain of bijectors from data to standard normal noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, Self, get_args

import torch
from torch import Tensor, nn

from flowkd.bijectors import Autoregressive, Bijector, Chain, Coupling, Shape, State, Tap
from flowkd.config import Config
from flowkd.flows.context import ContextSpec, ContextUnits, context_vectors

LOG_TWO_PI = math.log(2 * math.pi)
# Fields of a config that a flow's line says otherwise, or not at all.
UNSAID = {
    "kind", "event_shape", "mean", "scale", "transforms", "classes", "context", "context_size",
    "context_mean", "context_scale", "layers", "order",
}  # fmt: skip
# Said also where a config leaves them at default.
SIZES = {"depth", "width", "levels"}

# What a teacher may have besides log_prob.
Ability = Literal["samples", "latents", "decoding", "taps"]


@dataclass(frozen=True)
class Encoding:
    """What a flow makes of data.

    Attributes:
        z: Latents, (B, *latent_shape).
        log_prob: Log-density of the data, in nats, (B,).
        states: The states at the taps that were asked for, by name.
    """

    z: Tensor
    log_prob: Tensor
    states: dict[str, State] = field(default_factory=dict)

    def __repr__(self) -> str:
        taps = f", states at {', '.join(self.states)}" if self.states else ""
        mean = self.log_prob.detach().mean().item()
        return f"Encoding(z {tuple(self.z.shape)}, mean log_prob {mean:.3f} nats{taps})"


@dataclass(frozen=True)
class Decoding:
    """What a flow makes of latents.

    Attributes:
        x: Data, (B, *event_shape), in data units.
        log_prob: Log-density of these data, in nats, (B,): where inverse is one pass it is known
            without another.
        states: The states at the taps that were asked for, by name, as `Encoding` has them of x.
            Their log_det is that of the way from z to them.
    """

    x: Tensor
    log_prob: Tensor
    states: dict[str, State] = field(default_factory=dict)


class Engine(Protocol):
    """Computes a flow in another runtime than torch, without gradients.

    Attributes:
        name: Of the runtime.
        directions: `log_prob`, `inverse` or both: torch computes the other.
    """

    name: str
    directions: tuple[str, ...]

    def encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns z and log p(x | context) in nats, (B,), of rows that the flow has checked."""

    def decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Returns x of latents that the flow has checked."""


class Flow(nn.Module):
    """A density over (B, *event_shape): log p(x) = log N(f(x); 0, I) + log|det df/dx|.

    Args:
        chain: The bijectors; the first, named `preprocess`, takes data units to order one.
        event_shape: Shape of one example.
        context: What the density is conditioned on.
        context_units: Takes context vectors to order one; default none: they are so already.

    Attributes:
        config: What it was built from; None where it was put together by hand.
        bins: Number of integer values of the data that it was fitted to; None if continuous.
        columns: Names of the columns of x, where they are known.
        context_range: Least and largest value of each column of the context vectors that it was
            fitted to; None if unknown.
        engine: What computes it where neither taps nor gradients are asked for; None for torch.
            `for_inference` sets it. Copies, and what is cast, moved or loaded anew, have none: it
            is of these very weights.
    """

    def __init__(
        self,
        chain: Chain,
        event_shape: Shape,
        context: ContextSpec | None = None,
        context_units: ContextUnits | None = None,
    ) -> None:
        super().__init__()
        self.config: Config | None = None
        self.bins: int | None = None
        self.columns: list[str] | None = None
        self.context_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None
        self.engine: Engine | None = None
        self.chain = chain
        self.event_shape = tuple(event_shape)
        self.latent_shape = chain.output_shape(self.event_shape)
        self.context = context or ContextSpec()
        self.context_units = context_units

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.parameters())
        fields: dict[str, Any] = {}
        if self.config is not None:
            others = self.config.model_dump(exclude_defaults=True, exclude=UNSAID | SIZES)
            fields = self.config.model_dump(include=SIZES) | others
        sizes = "".join(f", {key} {value}" for key, value in fields.items() if value is not None)
        kind = getattr(self.config, "kind", "by hand")
        given = f", given {self.context}" if self.context.width else ""
        return f"Flow({kind}, {self.event_shape}{sizes}{given}; {parameters:,} parameters)"

    @property
    def initialized(self) -> bool:
        """Whether parameters that `initialize` sets have been set, by it or otherwise."""
        return self.chain.initialized

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it has for a student besides log_prob: everything."""
        return frozenset(get_args(Ability))

    @property
    def dimensions(self) -> int:
        """D, the number of values in one example."""
        return math.prod(self.event_shape)

    @property
    def preprocess(self) -> Bijector:
        """The first bijector, from data units to order one."""
        return self.chain["preprocess"]

    @property
    def one_pass(self) -> dict[str, bool]:
        """Whether `log_prob`, and `sample`, is one pass: not the same again, column by column."""
        there, back = self.chain.one_pass
        return {"log_prob": there, "sample": back}

    @property
    def reversible(self) -> bool:
        """Whether gradients are computed from results alone, in memory that is flat in depth."""
        return self.chain.reversible

    @reversible.setter
    def reversible(self, value: bool) -> None:
        for module in self.chain.modules():
            if isinstance(module, Chain):
                module.reversible = value

    @property
    def precision(self) -> Literal["float32", "bf16"]:
        """In which the networks within couplings compute; all else is in the flow's dtype."""
        half = any(getattr(module, "bf16", False) for module in self.modules())
        return "bf16" if half else "float32"

    @precision.setter
    def precision(self, value: Literal["float32", "bf16"]) -> None:
        for module in self.modules():
            if isinstance(module, Coupling | Autoregressive):
                module.bf16 = value == "bf16"

    @cached_property
    def taps(self) -> dict[str, Tap]:
        """Every place whose state may be recorded, by name, in the order of forward."""
        return dict(self.chain.taps(self.event_shape))

    def forward(
        self, x: Tensor, context: Tensor | None = None, taps: Collection[str] = ()
    ) -> Encoding:
        """Encodes data.

        Args:
            x: Data, (B, *event_shape), in data units.
            context: What the flow's ContextSpec asks for; vectors in data units.
            taps: Names of the bijectors after which to record the state.

        Raises:
            ValueError: A shape, a context or a tap that is not this flow's.
        """
        self._check_taps(taps)
        self._check(x, self.event_shape, "x")
        engine = self._engine_for("log_prob")
        if engine is not None and not taps and not _needs_gradient(x, context):
            self.context.check(context, x.shape[0])
            z, log_prob = engine.encode(x, context)
            return Encoding(z, log_prob)
        z, log_det, states = self.chain.record(x, self.encode_context(context, x), taps)
        return Encoding(z, standard_normal_log_prob(z) + log_det, states)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns log p(x | context) in nats, (B,)."""
        return self(x, context).log_prob

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latents (B, *latent_shape) to data (B, *event_shape)."""
        self._check(z, self.latent_shape, "z")
        engine = self._engine_for("inverse")
        if engine is not None and not _needs_gradient(z, context):
            self.context.check(context, z.shape[0])
            return engine.decode(z, context)
        return self.chain.inverse(z, self.encode_context(context, z))[0]

    def decode(
        self, z: Tensor, context: Tensor | None = None, taps: Collection[str] = ()
    ) -> Decoding:
        """Decodes latents, (B, *latent_shape), with the density and the states on the way.

        Args:
            z: Latents.
            context: What the flow's ContextSpec asks for; vectors in data units.
            taps: Names of the bijectors after which, in the order of forward, the states are.

        Raises:
            ValueError: A shape, a context or a tap that is not this flow's.
        """
        self._check_taps(taps)
        self._check(z, self.latent_shape, "z")
        x, log_det, states = self.chain.record_inverse(z, self.encode_context(context, z), taps)
        return Decoding(x, standard_normal_log_prob(z) - log_det, states)

    def draw_latents(
        self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws z ~ N(0, temperature^2), (n, *latent_shape), from the generator's device."""
        parameter = next(self.parameters())
        device = generator.device if generator else parameter.device
        z = torch.randn(n, *self.latent_shape, generator=generator, device=device)
        return z.to(parameter) * temperature

    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws n examples, (n, *event_shape), in data units, without gradients.

        Args:
            n: Number of examples.
            context: Classes (n,) or vectors (n, size), one for each example.
            temperature: Standard deviation of the latents; below 1 gives likelier examples.
            generator: Source of the noise; the same state gives the same examples.

        See also:
            `rsample`: with gradients.
        """
        with torch.no_grad():
            return self.rsample(n, context, temperature=temperature, generator=generator)

    def rsample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws n examples as `sample` does, with gradients with respect to the parameters."""
        z = self.draw_latents(n, temperature=temperature, generator=generator)
        return self.inverse(z, context)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Sets the parameters that depend on data from one batch; once, before training."""
        self._check(x, self.event_shape, "x")
        self.chain.initialize(x, self.encode_context(context, x))

    def _check_taps(self, taps: Collection[str]) -> None:
        unknown = [name for name in taps if name not in self.taps]
        if unknown:
            raise ValueError(f"unknown tap {unknown[0]!r}; valid taps are {', '.join(self.taps)}")

    def _engine_for(self, direction: str) -> Engine | None:
        engine = self.engine
        return engine if engine is not None and direction in engine.directions else None

    def _check(self, value: Tensor, shape: Shape, name: str) -> None:
        if not value.shape[0]:
            raise ValueError(f"expected at least one row of {name}; got none")
        if value.shape[1:] != shape:
            raise ValueError(
                f"expected {name} of event shape {shape}; got {tuple(value.shape[1:])}"
            )
        dtype = next(self.parameters()).dtype
        if value.dtype != dtype:
            raise ValueError(f"expected {name} of the flow's dtype {dtype}; got {value.dtype}")

    def encode_context(self, context: Tensor | None, like: Tensor) -> Tensor | None:
        """Checks a context and returns it as the vectors (B, width) that conditioners see."""
        self.context.check(context, like.shape[0])
        return context_vectors(self.context, self.context_units, context, like)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = _kind(self)
        moved = super()._apply(fn, recurse)
        if _kind(self) != before:
            self.engine = None
        return moved

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Loads weights as `nn.Module` does; torch computes them, for an engine has its own."""
        self.engine = None
        return super().load_state_dict(state_dict, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "engine": None}


def _kind(flow: Flow) -> set[tuple[torch.dtype, torch.device]]:
    return {(value.dtype, value.device) for value in flow.parameters()}


def _needs_gradient(*values: Tensor | None) -> bool:
    given = [value for value in values if value is not None]
    return torch.is_grad_enabled() and any(value.requires_grad for value in given)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Returns log N(z; 0, I) in nats, (B,)."""
    squares = z.square().flatten(1)
    return -0.5 * (squares.sum(1) + LOG_TWO_PI * squares.shape[1])
