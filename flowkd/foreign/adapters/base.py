"""What adapters have in common: units, shapes, and what the other library can do at all."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.bijectors import Shape, Standardize, Tap
from flowkd.flows.context import ContextSpec, ContextUnits, context_vectors, example_context
from flowkd.flows.flow import Ability, Encoding

PROBED = 2  # rows


class Adapter(nn.Module, ABC):
    """A flow of another library, computed by it, as a teacher.

    Args:
        module: The flow; it is frozen, and put in eval mode.
        event_shape: Shape of one example.
        context: What it is conditioned on.
        mean: Subtracted from the data before it sees them.
        scale: What they are divided by then.
        context_units: Takes context vectors to what it sees; default none.

    Attributes:
        abilities: What it can do besides log_prob, which was tried.
        remarks: What its user should know.
    """

    def __init__(
        self,
        module: nn.Module,
        event_shape: Shape,
        context: ContextSpec,
        mean: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
        context_units: ContextUnits | None = None,
    ) -> None:
        super().__init__()
        self.module: Any = module.eval().requires_grad_(False)
        self.event_shape = self.latent_shape = tuple(event_shape)
        self.context = context
        self.context_units = context_units
        self.preprocess = Standardize(mean, scale)
        # A module without parameters has none to tell its dtype by.
        self.like = nn.Parameter(_like(module), requires_grad=False)
        self.abilities: frozenset[Ability] = frozenset()
        self.abilities = self._probe()
        self.remarks: list[str] = []

    @abstractmethod
    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Returns log p(x | context), (B,), in the module's units."""

    @abstractmethod
    def _sample(self, n: int, context: Tensor | None) -> Tensor:
        """Draws n examples, one for each row of the context, by torch's own generator."""

    @abstractmethod
    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns latents and log p(x | context); NotImplementedError if they are not normal."""

    @abstractmethod
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Returns examples of standard normal latents; NotImplementedError as `_encode`."""

    @property
    def taps(self) -> Mapping[str, Tap]:
        """None: states within are not to be had."""
        return {}

    @property
    def dimensions(self) -> int:
        """D, the number of values in one example."""
        return math.prod(self.event_shape)

    def _log_det(self, x: Tensor) -> Tensor:
        log_det: Tensor = self.preprocess(x)[1]
        return log_det

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns log p(x | context) in nats, (B,)."""
        seen = self.encode_context(context, x)
        inner, log_det = self.preprocess(x)
        return self._log_prob(inner.clone(), seen).reshape(len(x)) + log_det

    def forward(
        self, x: Tensor, context: Tensor | None = None, taps: Collection[str] = ()
    ) -> Encoding:
        """Encodes data.

        Raises:
            ValueError: Its latents are not standard normal, or a tap is asked for.
        """
        if taps or "latents" not in self.abilities:
            raise ValueError(
                f"expected what a {type(self.module).__name__} has, {self._told()}; got "
                f"{'taps' if taps else 'latents'}"
            )
        inner, log_det = self.preprocess(x)
        z, log_prob = self._encode(inner.clone(), self.encode_context(context, x))
        return Encoding(z, log_prob.reshape(len(x)) + log_det)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latents (B, *latent_shape) to data (B, *event_shape)."""
        x: Tensor = self.preprocess.inverse(self._decode(z, self.encode_context(context, z)))[0]
        return x

    def draw_latents(
        self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws z ~ N(0, temperature^2), (n, *latent_shape), from the generator's device."""
        device = generator.device if generator else self.like.device
        z = torch.randn(n, *self.latent_shape, generator=generator, device=device)
        return z.to(self.like) * temperature

    @torch.no_grad()
    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws n examples, (n, *event_shape), in data units.

        Raises:
            ValueError: It has no samples, or none of another temperature than 1.
        """
        if "samples" not in self.abilities:
            raise ValueError(
                f"expected what a {type(self.module).__name__} has, {self._told()}; got samples"
            )
        if "decoding" in self.abilities:
            z = self.draw_latents(n, temperature=temperature, generator=generator)
            return self.inverse(z, context)
        if temperature != 1:
            raise ValueError(
                f"expected temperature 1 of a {type(self.module).__name__}, whose latents are not "
                f"to be had; got {temperature:g}"
            )
        with _drawing(generator, self.like.device):
            drawn = self._sample(n, self.encode_context(context, self.like.expand(n)))
        x: Tensor = self.preprocess.inverse(drawn)[0]
        return x

    def encode_context(self, context: Tensor | None, like: Tensor) -> Tensor | None:
        """Checks a context and returns it as the library's flow sees it."""
        self.context.check(context, like.shape[0])
        if context is not None and self.context.classes:
            return context
        return context_vectors(self.context, self.context_units, context, like)

    def _probe(self) -> frozenset[Ability]:
        """Returns what it can do, by trying: a library may have methods that only raise."""
        like = self.like
        z = torch.randn(PROBED, *self.event_shape, generator=torch.Generator().manual_seed(0))
        z = z.to(like)
        context = example_context(self.context, self.context_units, PROBED)
        given = None if context is None else context.to(like.device)
        found: set[Ability] = set()
        tried: dict[Ability, Callable[[], Tensor]] = {
            "latents": lambda: self._encode(z.clone(), self.encode_context(given, z))[0],
            "decoding": lambda: self._decode(z.clone(), self.encode_context(given, z)),
            "samples": lambda: self._sample(PROBED, self.encode_context(given, z)),
        }
        for ability, trial in tried.items():
            if ability == "samples" and "decoding" in found:
                found.add(ability)
                continue
            try:
                with torch.no_grad(), _drawing(torch.Generator().manual_seed(0), like.device):
                    made = trial()
            except Exception:  # of the library's own, whatever it raises
                continue
            if made.shape == z.shape:
                found.add(ability)
        return frozenset(found)

    def _told(self) -> str:
        return ", ".join(["log_prob", *sorted(self.abilities)])


def _like(module: nn.Module) -> Tensor:
    for value in [*module.parameters(), *module.buffers()]:
        if value.is_floating_point():
            return torch.zeros((), dtype=value.dtype, device=value.device)
    return torch.zeros(())


@contextmanager
def _drawing(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Has torch's own generators begin from one that is given, and restores them afterwards."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
