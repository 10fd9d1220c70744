"""How a flow computes while it is trained: compiled or not, in which precision and memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.data.batch import Batch
from flowkd.errors import ConfigError
from flowkd.flows.flow import Flow
from flowkd.training.train_config import TrainConfig

BACKEND = "inductor"

Terms = Callable[[Batch, Collection[str]], dict[str, Tensor]]


class CompiledTerms:
    """The terms of an objective, compiled at the first batch, for batches of its size.

    A graph holds for one size: it takes a minute or more to build, which a smaller last batch is
    not worth, so that one is computed as ever. The weights of the terms stay outside, for they
    change at each step; where one becomes 0, its term is left out, and another graph is built.

    Args:
        objective: A MaximumLikelihood or Distillation.
        graphs: Whether CUDA replays the whole of it as one graph, without a launch for each kernel.
            torch.compile keeps the memory of such graphs, and does without where one cannot be:
            `make_graphed_callables` leaves both to its caller. The gradients lie in that memory
            until the next batch, so that nothing may add to them from batch to batch.
    """

    def __init__(self, objective: Any, graphs: bool = False) -> None:
        self.flow: Flow = objective.flow
        self.ordinary: Terms = objective.terms
        options = {"mode": "reduce-overhead"} if graphs else {}
        self.compiled = torch.compile(objective.terms, backend=BACKEND, dynamic=False, **options)  # type: ignore[call-overload]
        self.size: tuple[int, ...] | None = None
        for each in (self.flow, getattr(objective, "teacher", None)):
            if each is not None:
                each.taps  # noqa: B018  what is computed once is no part of a graph

    def __call__(self, batch: Batch, wanted: Collection[str]) -> dict[str, Tensor]:
        """Computes the terms that are wanted of a batch."""
        latents = 0 if batch.z is None else len(batch.z)
        size = (len(batch), batch.samples, latents)
        self.size = self.size or size
        if size != self.size:
            return self.ordinary(batch, wanted)
        self.flow.context.check(batch.context, len(batch))  # of which a graph has no part
        made: dict[str, Tensor] = self.compiled(batch, wanted)
        return made


@contextmanager
def computing(objective: nn.Module, config: TrainConfig) -> Iterator[None]:
    """Has an objective's flow compute as a config says, and afterwards as it did before.

    Args:
        objective: A MaximumLikelihood or Distillation, or DDP around one.
        config: Of the training.

    Raises:
        ConfigError: A precision, or whether to compile, that is still to be found.
    """
    for name, expected in (("precision", "float32 or bf16"), ("compile", "true or false")):
        if getattr(config, name) == "auto":
            raise ConfigError(
                f"train.{name}: expected {expected} here, where nothing measures it; got auto"
            )
    inner: Any = getattr(objective, "module", objective)
    flow: Flow = inner.flow
    before = flow.reversible, flow.precision
    flow.reversible = config.memory == "reversible"
    assert config.precision != "auto"
    flow.precision = config.precision
    if config.compile:
        alone = inner is objective and config.accumulate == 1
        on_gpu = next(flow.parameters()).device.type == "cuda"
        inner.terms = CompiledTerms(inner, graphs=alone and on_gpu)
    try:
        yield
    finally:
        flow.reversible, flow.precision = before
        inner.__dict__.pop("terms", None)
