"""Gradients without kept activations: a backward pass that goes back by the bijectors' inverses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Retraced(NamedTuple):
    """One bijector's step once more, with a graph.

    Attributes:
        given: What it had been given, in pieces along dimension 1: leaves of the graph.
        made: What it makes of them, in pieces along dimension 1.
        log_det: Its log-determinant, (B,).
    """

    given: tuple[Tensor, ...]
    made: tuple[Tensor, ...]
    log_det: Tensor


# Bijectors that are retraced from one state, at most: 8 steps of three. Rounding grows on the way
# back, by a factor a step where a flow is badly conditioned; and a state is small beside what the
# network of a single step keeps.
MOST_TOGETHER = 24


class Retraceable(Protocol):
    """What is asked of a bijector here."""

    __call__: Callable[..., Any]

    @property
    def retraceable(self) -> bool:
        """Whether it can be retraced at all."""
        ...

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes it."""
        ...

    def retrace(
        self, made: Tensor, context: Tensor | None = None, *, inverse: bool = False
    ) -> Retraced:
        """Computes what a step was given from what it made, and the step once more."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yields what is learnt."""
        ...


Step = TypeVar("Step", bound=Retraceable)


def runs(
    leaves: Iterable[tuple[tuple[str, ...], Step]], taps: Collection[str] = ()
) -> Iterator[tuple[tuple[str, ...], list[Step] | Step]]:
    """Yields lists of bijectors that are retraced together, and the others one by one.

    Args:
        leaves: As `Bijector.leaves` yields them: each with the paths of what ends there.
        taps: Paths after which the state is recorded, and a list ends.
    """
    together: list[Step] = []
    last: tuple[str, ...] = ()
    for paths, bijector in leaves:
        ends = len(together) == MOST_TOGETHER or any(path in taps for path in last)
        if together and (ends or not bijector.retraceable):
            yield last, together
            together = []
        last = paths
        if bijector.retraceable:
            together.append(bijector)
        else:
            yield paths, bijector
    if together:
        yield last, together


def apply_reversibly(
    bijectors: Sequence[Retraceable], x: Tensor, context: Tensor | None, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Applies bijectors in turn and keeps only the result for the backward pass.

    That pass computes what each bijector had been given from what it has made, last first, so that
    memory does not grow with their number. Each is `retraceable`.

    Args:
        bijectors: In the order in which they are applied.
        x: What the first is given.
        context: As bijectors take it.
        inverse: Whether it is their inverses that are applied.

    Source: The Reversible Residual Network, 2017, https://arxiv.org/abs/1707.04585.
    """
    value, log_det = _Reversible.apply(bijectors, inverse, x, context, *_learning(bijectors))
    return value, log_det


def _learning(bijectors: Sequence[Retraceable]) -> list[nn.Parameter]:
    """Returns what is learnt in some bijectors, each once."""
    every = [value for each in bijectors for value in each.parameters() if value.requires_grad]
    return list(dict.fromkeys(every))


class _Reversible(torch.autograd.Function):
    # Parameters are arguments, so that their gradients arrive where DDP waits for them.

    @staticmethod
    def forward(
        ctx: Any,
        bijectors: Sequence[Retraceable],
        inverse: bool,
        x: Tensor,
        context: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(x.shape[0])
        for each in bijectors:
            x, part = each.inverse(x, context) if inverse else each(x, context)
            log_det = log_det + part
        ctx.bijectors, ctx.inverse = bijectors, inverse
        ctx.save_for_backward(x, context, *parameters)
        return x, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_log_det: Tensor) -> tuple[Any, ...]:
        value, context, *_ = ctx.saved_tensors
        wants_context = ctx.needs_input_grad[3]
        if context is not None:
            context = context.detach().requires_grad_(wants_context)
        of_context: Tensor | None = None
        # Made first: small ones that stay, among large ones that go, would leave holes in memory.
        found = {each: torch.zeros_like(each) for each in _learning(ctx.bijectors)}
        for each in reversed(ctx.bijectors):
            with torch.enable_grad():
                step = each.retrace(value, context, inverse=ctx.inverse)
            learning = _learning([each])
            inputs = [*step.given, *learning, *([context] if wants_context else [])]
            sizes = [part.shape[1] for part in step.made]
            outputs = [*zip(step.made, grad.split(sizes, 1), strict=True)]
            outputs.append((step.log_det, grad_log_det))
            outputs = [pair for pair in outputs if pair[0].requires_grad]
            grads = torch.autograd.grad(
                [made for made, _ in outputs], inputs, [of for _, of in outputs],
                allow_unused=True, materialize_grads=True,
            )  # fmt: skip
            parts = len(step.given)
            value = _joined([part.detach() for part in step.given])
            grad = _joined(grads[:parts])
            for parameter, of in zip(learning, grads[parts:], strict=False):
                found[parameter] += of
            if wants_context:
                of_context = grads[-1] if of_context is None else of_context + grads[-1]
        return None, None, grad, of_context, *found.values()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
