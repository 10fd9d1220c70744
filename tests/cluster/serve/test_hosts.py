"""No web page of somebody else's reaches a service through the browser of who runs it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import pytest

from cluster.serve.api import build_api
from cluster.serve.config import ServingLimits

READY = SimpleNamespace(models={"a": None})


def asked(headers: dict[str, str], names: tuple[str, ...] = ("models.example",)) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(build_api(READY, ServingLimits(), names))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/healthz", headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "10.0.0.7", "LOCALHOST",
        "models.example:443",
    ],
)  # fmt: skip
def test_addresses_localhost_and_its_own_names_are_taken(host: str) -> None:
    assert asked({"Host": host}).status_code == 200
    assert asked({"Host": host, "Origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "", "[", "models.example.x"],
)
def test_a_name_that_was_made_to_mean_this_machine_is_refused(host: str) -> None:
    answer = asked({"Host": host})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "unknown_host"
    assert asked({"Host": host}, ("*",)).status_code == 200 or not host.strip("[")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://evil.example:8000"])
def test_a_page_of_elsewhere_is_refused(origin: str) -> None:
    answer = asked({"Origin": origin})
    assert answer.status_code == 403
    assert "name its host in `allowed_hosts`" in answer.json()["error"]["message"]
