"""Ray Serve: replicas that hold all models, batch what these are asked, and speak HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import torch
from fastapi import FastAPI
from ray import serve
from ray.serve.config import HTTPOptions

import cluster
import flowkd
from cluster.serve.api import build_api
from cluster.serve.config import ServingConfig
from cluster.serve.responses import Served
from cluster.storage import StorageConfig
from flowkd.errors import FlowkdError
from flowkd.predict.model import Model, SampleJob, ScoreJob, run_samples, run_scores
from flowkd.registry.artifacts import load_artifact, resolve

APPLICATION = "flowkd"
HEALTHY_SECONDS = 60
log = logging.getLogger(__name__)
Job = TypeVar("Job", SampleJob, ScoreJob)


class ServingError(FlowkdError):
    """A deployment that did not come up, or not with the models that were asked for."""


@serve.ingress()
class FlowServer:
    """One replica; its HTTP interface is `cluster.serve.api`.

    Args:
        config: A dumped ServingConfig; its models come by `reconfigure`.
        storage: A dumped StorageConfig.
    """

    def __init__(self, config: dict[str, Any], storage: dict[str, Any]) -> None:
        self.config = ServingConfig.model_validate(config)
        self.store = StorageConfig.model_validate(storage).store()
        self.models: dict[str, Served] = {}
        # One thread: torch never holds up the event loop, nor competes with itself.
        self.torch = ThreadPoolExecutor(
            1, "flowkd-torch", torch.set_num_threads, (self.config.cpus,)
        )
        self.run_samples.set_max_batch_size(self.config.max_batch)
        self.run_scores.set_max_batch_size(self.config.max_batch)
        self.run_samples.set_batch_wait_timeout_s(self.config.batch_wait_ms / 1000)
        self.run_scores.set_batch_wait_timeout_s(self.config.batch_wait_ms / 1000)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_api(self, self.config.limits)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serves {"models": {name: reference}}; what runs goes on with the model it began with.

        A model that cannot be loaded leaves everything as it was, except at the start.
        """
        try:
            loaded = await self._compute(self._load, user_config["models"])
        except Exception:
            if not self.models:
                raise
            log.exception("kept the models that were served: %s could not be", user_config)
            return
        self.models = loaded

    async def sample(self, served: Served, job: SampleJob) -> Any:
        """Returns a job's examples, or a QueryError."""
        return await self.run_samples((served, job))

    async def score(self, served: Served, job: ScoreJob) -> Any:
        """Returns a job's scores, or a QueryError."""
        return await self.run_scores((served, job))

    @serve.batch
    async def run_samples(self, asked: list[tuple[Served, SampleJob]]) -> list[Any]:
        """Runs jobs of any models together."""
        return await self._compute(_by_model, run_samples, asked)

    @serve.batch
    async def run_scores(self, asked: list[tuple[Served, ScoreJob]]) -> list[Any]:
        """Runs jobs of any models together."""
        return await self._compute(_by_model, run_scores, asked)

    def _load(self, references: Mapping[str, str]) -> dict[str, Served]:
        known = {served.artifact.reference: served for served in self.models.values()}
        loaded = {}
        for name, reference in references.items():
            if reference in known:
                artifact, model = known[reference].artifact, known[reference].model
            else:
                artifact = load_artifact(self.store, reference)
                model = Model.of(artifact)
            loaded[name] = Served(name, artifact, model)
        return loaded

    async def _compute(self, call: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.torch, call, *given)


def _by_model(
    run: Callable[[Model, Sequence[Job]], list[Any]], asked: Sequence[tuple[Served, Job]]
) -> list[Any]:
    groups: dict[int, list[int]] = {}
    for place, (served, _) in enumerate(asked):
        groups.setdefault(id(served.model), []).append(place)
    answers: list[Any] = [None] * len(asked)
    for places in groups.values():
        model = asked[places[0]][0].model
        for place, answer in zip(places, run(model, [asked[p][1] for p in places]), strict=True):
            answers[place] = answer
    return answers


def serving_app(config: ServingConfig, storage: StorageConfig) -> serve.Application:
    """Returns the application; each alias is resolved now, to one version for all replicas.

    Deploying the same config again after an alias has moved therefore swaps the model, without a
    restart of the replicas.

    Raises:
        StoreError: A model is not in the store, or the store is in memory.
    """
    storage.ray_filesystem()  # refuses a store that replicas cannot see
    given = {"config": config.model_dump(mode="json"), "storage": storage.model_dump(mode="json")}
    return (
        serve.deployment(FlowServer, name="FlowServer")
        .options(
            num_replicas=config.replicas,
            ray_actor_options={"num_cpus": config.cpus},
            user_config={"models": pinned_models(config, storage)},
            # The replica refuses what goes beyond its queue in its own words; Serve is above that.
            max_ongoing_requests=config.limits.queue + 16,
            max_queued_requests=config.limits.queue,
            # Ray has no public way to say that only user_config changed: without an equal version
            # every `serve.run` replaces all replicas.
            version=_version(given),
            _internal=True,
        )
        .bind(**given)
    )


def pinned_models(config: ServingConfig, storage: StorageConfig) -> dict[str, str]:
    """Returns the references to be served, with each alias replaced by its version."""
    store, pinned = storage.store(), {}
    for name, reference in config.models.items():
        parts = resolve(store, reference).split("/")
        pinned[name] = reference if parts[0] == "runs" else f"models/{parts[1]}@{parts[2]}"
    return pinned


def deploy(config: ServingConfig, storage: StorageConfig) -> str:
    """Deploys on the cluster that this process is connected to; returns the endpoint's URL.

    Raises:
        StoreError: A model is not in the store.
        ServingError: The deployment failed, or does not answer with these models.
    """
    wanted = pinned_models(config, storage)
    application = serving_app(config.model_copy(update={"models": wanted}), storage)
    timeout = 2 * config.limits.seconds + 10  # the replica's own are shorter
    serve.start(
        http_options=HTTPOptions(host=config.host, port=config.port, request_timeout_s=timeout)
    )
    try:
        serve.run(application, name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise ServingError(f"serving {config.models} failed: {error}") from error
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host
    endpoint = f"http://{host}:{config.port}"
    _wait_until_served(endpoint, wanted)
    return endpoint


def _wait_until_served(endpoint: str, wanted: Mapping[str, str]) -> None:
    deadline, found = time.monotonic() + HEALTHY_SECONDS, "no answer"
    with httpx.Client(base_url=endpoint, trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                client.get("/healthz").raise_for_status()
                models = client.get("/v1/models").raise_for_status().json()["models"]
            except httpx.HTTPError as error:
                found = str(error)
            else:
                served = {model["name"]: model["reference"] for model in models}
                if served == wanted:
                    return
                found = str(served)
            time.sleep(0.2)
    raise ServingError(
        f"expected {dict(wanted)} at {endpoint} within {HEALTHY_SECONDS} s; got {found}; a model "
        "that cannot be loaded is in the log of FlowServer, and Serve that was started for another "
        "port keeps it: see `serve status`"
    )


def _version(given: Mapping[str, Any]) -> str:
    """Returns a digest of all that makes a replica what it is, its models aside."""
    config = {key: value for key, value in given["config"].items() if key != "models"}
    digest = hashlib.sha256(json.dumps([config, given["storage"]], sort_keys=True).encode())
    for package in (cluster, flowkd):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
