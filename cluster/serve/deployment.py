"""Deployment on Ray Serve: from a configuration to replicas that answer with its models."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions

import cluster
import flowkd
from cluster.serve.config import ServingConfig
from cluster.serve.door import ENVIRONMENT
from cluster.serve.server import FlowServer
from cluster.serve.told import ASKED, TOLD
from cluster.storage import StorageConfig
from flowkd.errors import FlowkdError
from flowkd.registry.artifact_manifest import resolve

APPLICATION = "flowkd"
READY_TIMEOUT_S = 60


class ServingError(FlowkdError):
    """A deployment that did not become ready, or not with the models of its configuration."""


def serving_app(config: ServingConfig, storage: StorageConfig) -> serve.Application:
    """Returns the application, each alias of its models resolved now, to one version for all time.

    A service therefore changes only when it is deployed again: after an alias has moved, that swaps
    the model, without a restart of the replicas.

    Raises:
        StoreError: A model is not in the store, or the store is in memory.
    """
    storage.ray_filesystem()  # refuses a store that replicas cannot see
    given = {"config": config.model_dump(mode="json"), "storage": storage.model_dump(mode="json")}
    return (
        serve.deployment(serve.ingress()(FlowServer), name="FlowServer")
        .options(
            num_replicas=config.num_replicas,
            ray_actor_options={"num_cpus": config.num_cpus},
            user_config={"models": pinned_models(config, storage)},
            # The replica itself refuses requests beyond its limit, with a message; so Serve's own
            # limit is higher.
            max_ongoing_requests=config.limits.max_ongoing_requests + 16,
            max_queued_requests=config.limits.max_ongoing_requests,
            # Ray has no public way to say that only user_config changed: without an equal version
            # every `serve.run` replaces all replicas.
            version=_version(given),
            _internal=True,
        )
        .bind(**given)
    )


def pinned_models(config: ServingConfig, storage: StorageConfig) -> dict[str, str]:
    """Returns the reference of each model, by name, with each alias replaced by its version."""
    store, pinned = storage.store(), {}
    for name, reference in config.models.items():
        parts = resolve(store, reference).split("/")
        pinned[name] = reference if parts[0] == "runs" else f"models/{parts[1]}@{parts[2]}"
    return pinned


def deploy(config: ServingConfig, storage: StorageConfig) -> str:
    """Deploys on the cluster that this process is connected to; returns the endpoint's URL.

    Raises:
        StoreError: A model is not in the store.
        ServingError: The deployment failed, or does not answer with these models in time.
    """
    wanted = pinned_models(config, storage)
    application = serving_app(config.model_copy(update={"models": wanted}), storage)
    timeout = 2 * config.limits.request_timeout_s + 10  # longer than the replica's own
    with _without_info():
        options = HTTPOptions(host=config.host, port=config.port, request_timeout_s=timeout)
        inherited = {"runtime_env": {"env_vars": ENVIRONMENT}}  # by its proxies
        try:
            serve.start(http_options=options, controller_options=inherited)
            serve.run(application, name=APPLICATION, route_prefix="/")
        except RuntimeError as error:
            raise ServingError(f"serving {config.models} failed: {error}") from error
        except RayError as error:  # Serve's own process was killed
            reason = str(error).partition("\n")[0]
            raise ServingError(
                f"Ray Serve ended while {config.models} began: {reason}; deploy again, and see "
                "`serve status`"
            ) from error
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host
    endpoint = f"http://{host}:{config.port}"
    _wait_until_ready(endpoint, wanted)
    return endpoint


@contextmanager
def _without_info() -> Iterator[None]:
    """Keeps the lines that Ray Serve writes of its doings out of this process's output."""
    logger = logging.getLogger("ray.serve")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _wait_until_ready(endpoint: str, wanted: Mapping[str, str]) -> None:
    deadline, found = time.monotonic() + READY_TIMEOUT_S, "no answer"
    asked = {ASKED.decode(): "1"}  # a door keeps for itself what is told
    with httpx.Client(base_url=endpoint, trust_env=False, headers=asked) as client:
        while time.monotonic() < deadline:
            try:
                health = client.get("/healthz").raise_for_status()
                models = client.get("/v1/models").raise_for_status().json()["models"]
            except httpx.HTTPError as error:
                found = str(error)
            else:
                served = {model["name"]: model["reference"] for model in models}
                if served == wanted:
                    return _warn_without_door(health)
                found = str(served)
            time.sleep(0.2)
    raise ServingError(
        f"expected {dict(wanted)} at {endpoint} within {READY_TIMEOUT_S} s; got {found}; a model "
        "that cannot be loaded is in the log of FlowServer, and Serve that was started for another "
        "port keeps it: see `serve status`"
    )


def _warn_without_door(health: httpx.Response) -> None:
    if TOLD.decode() in health.headers:
        settings = " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items())
        print(
            "warning: Serve was started without flowkd's door, so slow connections hold places and "
            f"refusals are slow: end it by `serve shutdown`, or start it with {settings}",
            file=sys.stderr,
        )


def _version(given: Mapping[str, Any]) -> str:
    """Returns a digest of a replica's configuration, but for its models, and of the code."""
    config = {key: value for key, value in given["config"].items() if key != "models"}
    digest = hashlib.sha256(json.dumps([config, given["storage"]], sort_keys=True).encode())
    for package in (cluster, flowkd):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
