"""Refuses requests that a web page of somebody else's makes a browser send."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.serve.errors import ApiError, error_response


class HostCheck:
    """Answers 421 to a Host, and 403 to an Origin, that is not the service's.

    A page that has its own name resolve to this machine sends that name as Host (DNS rebinding), so
    that only addresses, localhost and the names of the service are taken. What is no browser sends
    no Origin.

    Args:
        app: The application.
        names: Names by which clients may call the service; `*` for any.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on a request that is the service's, and answers any other."""
        fault = self._fault(Headers(scope=scope)) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await error_response(fault)(scope, receive, send)

    def _fault(self, headers: Headers) -> ApiError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(f"//{host}"):
            return ApiError(
                421,
                "unknown_host",
                f"Host: expected an address, localhost or a name of `allowed_hosts`; got {host!r}",
            )
        if origin is not None and not self._is_ours(origin):
            return ApiError(
                403,
                "foreign_origin",
                f"Origin: expected none, or a page of this service; got {origin!r}: name its host "
                f"in `allowed_hosts`",
            )
        return None

    def _is_ours(self, url: str) -> bool:
        try:
            name = (urlsplit(url).hostname or "").lower()
        except ValueError:
            return False
        return "*" in self._names or name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
