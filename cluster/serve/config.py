"""Configuration of a service, apart from Ray Serve, which takes long to import."""

from __future__ import annotations

from pydantic import Field

from flowkd.config import Config
from flowkd.flows.engine.choose import EngineName
from flowkd.names import ModelName
from flowkd.predict.requests import RequestLimits


class ServingLimits(RequestLimits):
    """The limits of each request and of each replica.

    Attributes:
        max_body_bytes: Size of a request's body in bytes, 413 beyond it; default 16 MiB.
        max_ongoing_requests: Requests that a replica has accepted and not answered yet, waiting or
            computed; the next one is answered 503; default 64.
        max_wait_s: Seconds that a request may have to wait for those before it, by their rows and
            the measured time of a row; one that would wait longer is answered 503; default 5.
        request_timeout_s: Seconds for the body of a request to arrive, 408 beyond them, and for its
            answer from the request's first byte on, 503 beyond them; a client asks for fewer by
            `X-Request-Timeout-Seconds`; default 60.
    """

    max_body_bytes: int = Field(16 * 2**20, ge=1)
    max_ongoing_requests: int = Field(64, ge=1)
    max_wait_s: float = Field(5, gt=0)
    request_timeout_s: float = Field(60, gt=0)


class ServingConfig(Config):
    """The models of a service, its address, its replicas and its batches, in Ray Serve's words.

    Attributes:
        models: Reference, such as `models/photos@best`, of each model, by its name in URLs.
        host: Address to listen on, default loopback: there is no authentication, so another one
            only behind a proxy that authenticates.
        allowed_hosts: Names, as in URLs, by which clients may call the service, besides localhost
            and addresses; `*` for any, behind a proxy that checks them; default none.
        port: TCP port to listen on; default 8000.
        num_replicas: Processes that answer requests, each with all models; default 1.
        num_cpus: CPU cores, and threads of the engine, of each replica; default 1.
        engine: What computes the models: `onnx`, `torch`, or `auto`, the former where it can be.
        limits: Limits of each replica and of each request.
        max_batch_size: Requests that are computed together; default 16.
        batch_wait_timeout_s: Seconds that a request waits for others to fill its batch; default
            0.002.
    """

    models: dict[ModelName, str] = Field(min_length=1)
    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    port: int = Field(8000, ge=1, le=65535)
    num_replicas: int = Field(1, ge=1)
    num_cpus: int = Field(1, ge=1)
    engine: EngineName = "auto"
    limits: ServingLimits = ServingLimits()
    max_batch_size: int = Field(16, ge=1)
    batch_wait_timeout_s: float = Field(0.002, ge=0)
