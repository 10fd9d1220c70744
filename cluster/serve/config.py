"""What is served, and how: apart from Ray Serve, which takes long to import."""

from __future__ import annotations

from pydantic import Field

from flowkd.config import Config
from flowkd.names import ModelName
from flowkd.predict.requests import QueryLimits


class ApiLimits(QueryLimits):
    """What one replica takes on.

    Attributes:
        body_bytes: Of one request.
        queue: Requests that wait or run; one more is answered 503.
        seconds: For a body to arrive, and then for its answer.
    """

    body_bytes: int = Field(16 * 2**20, ge=1)
    queue: int = Field(64, ge=1)
    seconds: float = Field(60, gt=0)


class ServingConfig(Config):
    """What is served, and how.

    Attributes:
        models: References, such as `models/photos@best`, by the name to serve each under.
        host: Address to listen on; there is no authentication, so loopback unless a proxy guards.
        port: Likewise.
        replicas: Processes that answer, each with all models.
        limits: What one replica takes on.
        max_batch: Requests that are computed together.
        batch_wait_ms: How long a request waits for others to share its batch.
        cpus: CPU cores, and threads, of each replica.
    """

    models: dict[ModelName, str] = Field(min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    replicas: int = Field(1, ge=1)
    limits: ApiLimits = ApiLimits()
    max_batch: int = Field(16, ge=1)
    batch_wait_ms: float = Field(2, ge=0)
    cpus: int = Field(1, ge=1)
