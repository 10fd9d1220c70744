"""FlowServer: a replica that holds all models, batches the requests to them, and speaks HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from fastapi import FastAPI
from ray import serve
from torch import Tensor

from cluster.serve.api import build_api
from cluster.serve.config import ServingConfig
from cluster.serve.responses import ServedModel
from cluster.serve.waiting import Rates
from cluster.storage import StorageConfig
from flowkd.predict.predictor import LogProbInputs, LogProbResult, Predictor, SampleInputs
from flowkd.predict.requests import InvalidRequestError
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.registry.catalog import aliases_of

log = logging.getLogger(__name__)
PIECE_S = 0.05  # that a piece of a large request takes, before others have their turn
Inputs = TypeVar("Inputs", SampleInputs, LogProbInputs)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Job(Generic[Inputs]):
    """A piece of a request to a model.

    Attributes:
        model: The model.
        inputs: The whole request.
        stop: One past the last row of the piece, which begins where `done` ends.
        done: What the pieces before it gave.
    """

    model: ServedModel
    inputs: Inputs
    stop: int
    done: tuple[Tensor, ...] = ()

    @property
    def start(self) -> int:
        """The first row of the piece."""
        return sum(map(len, self.done))

    @property
    def rows(self) -> int:
        """Number of examples of the piece."""
        return self.stop - self.start

    @property
    def piece(self) -> Inputs:
        """The piece by itself."""
        return self.inputs.rows(self.start, self.stop)

    @property
    def is_last(self) -> bool:
        """Whether the request is answered with this piece."""
        return self.stop == len(self.inputs)


class FlowServer:
    """A replica on Ray Serve; its HTTP interface is `cluster.serve.api`.

    Args:
        config: A dumped ServingConfig; its models come by `reconfigure`.
        storage: A dumped StorageConfig.
    """

    def __init__(self, config: dict[str, Any], storage: dict[str, Any]) -> None:
        self.config = ServingConfig.model_validate(config)
        self.store = StorageConfig.model_validate(storage).store()
        self.models: dict[str, ServedModel] = {}
        self.rates = Rates()
        # One thread: torch never holds up the event loop, nor competes with itself.
        self.thread = ThreadPoolExecutor(
            1, "flowkd-torch", torch.set_num_threads, (self.config.num_cpus,)
        )
        for batch in (self.sample_batch, self.log_prob_batch):
            batch.set_max_batch_size(self.config.max_batch_size)
            batch.set_batch_wait_timeout_s(self.config.batch_wait_timeout_s)

    def __serve_build_asgi_app__(self) -> FastAPI:
        hosts = (self.config.host, *self.config.allowed_hosts)
        return build_api(self, self.config.limits, hosts, self.rates, self.config.num_replicas)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serves {"models": {name: reference}}; ongoing requests keep the model they began with.

        If a model cannot be loaded, the models that were served stay; where there are none yet, the
        error is raised.
        """
        try:
            loaded = await self._in_thread(self._load, user_config["models"])
        except Exception:
            if not self.models:
                raise
            log.exception("kept the models that were served: %s could not be", user_config)
            return
        self.models = loaded

    async def sample(
        self, model: ServedModel, inputs: SampleInputs
    ) -> Tensor | InvalidRequestError:
        """Returns examples, (n, *event_shape), computed in batches with other requests."""
        return await self._in_pieces("sample", self.sample_batch, model, inputs)

    async def log_prob(
        self, model: ServedModel, inputs: LogProbInputs
    ) -> LogProbResult | InvalidRequestError:
        """Returns log-densities, computed in batches with other requests."""
        return await self._in_pieces("log_prob", self.log_prob_batch, model, inputs)

    @serve.batch
    async def sample_batch(
        self, batch: list[Job[SampleInputs]]
    ) -> list[Tensor | InvalidRequestError]:
        """Computes pieces of requests for samples of any of the models, in their order."""
        compute, finish = Predictor.decode, Predictor.to_samples
        return await self._in_thread(self._by_model, "sample", compute, finish, batch)

    @serve.batch
    async def log_prob_batch(
        self, batch: list[Job[LogProbInputs]]
    ) -> list[Tensor | LogProbResult | InvalidRequestError]:
        """Computes pieces of requests for log-densities of any of the models, in their order."""
        compute, finish = Predictor.score, Predictor.to_result
        return await self._in_thread(self._by_model, "log_prob", compute, finish, batch)

    async def _in_pieces(
        self,
        operation: str,
        batch: Callable[[Job[Inputs]], Awaitable[Any]],
        model: ServedModel,
        inputs: Inputs,
    ) -> Any:
        """Returns the answer to a request whose pieces take turns with those of others.

        A row's result does not depend on its neighbours (flowkd.predict.batching), so it is the
        answer to the whole, and a request of a second does not keep one of a millisecond waiting.
        """
        done: tuple[Tensor, ...] = ()
        while True:
            chunk = model.predictor.chunk_size
            seconds = self.rates.cost(model.name, operation, chunk)
            rows = chunk * max(1, int(PIECE_S / seconds)) if seconds else chunk
            job = Job(model, inputs, min(sum(map(len, done)) + rows, len(inputs)), done)
            answer = await batch(job)
            if job.is_last:
                return answer
            done = (*done, answer)

    def _load(self, references: Mapping[str, str]) -> dict[str, ServedModel]:
        known = {model.artifact.reference: model for model in self.models.values()}
        loaded = {}
        for name, reference in references.items():
            if reference in known:
                artifact, predictor = known[reference].artifact, known[reference].predictor
            else:
                artifact = load_artifact(self.store, reference)
                predictor = Predictor.from_artifact(artifact, self.config.engine)
            loaded[name] = ServedModel(name, artifact, predictor, self._aliases(artifact))
        return loaded

    def _aliases(self, artifact: Artifact) -> list[str]:
        kind, _, name = artifact.reference.partition("@")[0].partition("/")
        found = aliases_of(self.store, name)[0] if kind == "models" else {}
        return [alias for alias, version in found.items() if version == artifact.version]

    def _by_model(
        self,
        operation: str,
        compute: Callable[[Predictor, Sequence[Inputs]], list[Tensor]],
        finish: Callable[[Predictor, Tensor, Inputs], Answer],
        batch: Sequence[Job[Inputs]],
    ) -> list[Tensor | Answer]:
        """Returns what each piece of a batch gives, the answer with a last one, model by model."""
        groups: dict[int, list[int]] = {}
        for place, job in enumerate(batch):
            groups.setdefault(id(job.model.predictor), []).append(place)
        answers: dict[int, Tensor | Answer] = {}
        for places in groups.values():
            model = batch[places[0]].model
            began = time.perf_counter()
            found = compute(model.predictor, [batch[place].piece for place in places])
            seconds = time.perf_counter() - began
            chunk, rows = model.predictor.chunk_size, sum(batch[place].rows for place in places)
            computed = -(-rows // chunk) * chunk  # the last chunk is filled up
            for name in {batch[place].model.name for place in places}:
                self.rates.measured(name, operation, computed, seconds)
            for place, values in zip(places, found, strict=True):
                answers[place] = _answer(batch[place], values, finish)
        return [answers[place] for place in range(len(batch))]

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.thread, call, *args)


def _answer(
    job: Job[Inputs], values: Tensor, finish: Callable[[Predictor, Tensor, Inputs], Answer]
) -> Tensor | Answer:
    """Returns the answer to a request whose last piece was computed, of others the values."""
    if not job.is_last:
        return values
    return finish(job.model.predictor, torch.cat([*job.done, values]), job.inputs)
