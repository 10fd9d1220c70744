"""What a replica tells the door before it, in a header of its answers that no client sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.serve.config import ServingLimits

ASKED, TOLD = b"x-flowkd-door", b"x-flowkd-told"


@dataclass(frozen=True)
class ToldModel:
    """What a request to a model costs.

    Attributes:
        values: Numbers in a row.
        seconds: Seconds that a row takes, by operation; what is missing is not known yet.
    """

    values: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Told:
    """What a door knows of the service behind it.

    Attributes:
        limits: Those of a replica and of a request.
        hosts: Names by which clients may call the service.
        replicas: How many there are.
        models: The models, by their names in URLs.
        rows: Rows of the request that is answered; 0 where it has none.
    """

    limits: ServingLimits = field(default_factory=ServingLimits)
    hosts: tuple[str, ...] = ()
    replicas: int = 1
    models: dict[str, ToldModel] = field(default_factory=dict)
    rows: int = 0

    def encode(self) -> bytes:
        """Returns it as a header's value."""
        return orjson.dumps({**vars(self), "limits": self.limits.model_dump()})

    @classmethod
    def decode(cls, value: bytes) -> Told:
        """Returns what a header's value says."""
        fields: dict[str, Any] = orjson.loads(value)
        models = {name: ToldModel(**about) for name, about in fields["models"].items()}
        known = {"limits": _limits(fields["limits"]), "hosts": tuple(fields["hosts"])}
        return cls(**{**fields, **known, "models": models})


class Tell:
    """ASGI middleware of a replica: adds to an answer what the door has asked for.

    Args:
        app: The application; it leaves the rows of a request in its state.
        told: Returns what to tell, given the rows.
    """

    def __init__(self, app: ASGIApp, told: Callable[[int], Told]) -> None:
        self._app = app
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or not any(name == ASKED for name, _ in scope["headers"]):
            return await self._app(scope, receive, send)
        state = scope.setdefault("state", {})

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = self._told(state.get("rows", 0)).encode()
                message = {**message, "headers": [*message["headers"], (TOLD, value)]}
            await send(message)

        await self._app(scope, receive, telling)


_known: dict[str, ServingLimits] = {}


def _limits(fields: dict[str, Any]) -> ServingLimits:
    """Returns limits; those of the last call are kept, as they hardly ever change."""
    key = repr(fields)
    if key not in _known:
        _known.clear()
        _known[key] = ServingLimits.model_validate(fields)
    return _known[key]
