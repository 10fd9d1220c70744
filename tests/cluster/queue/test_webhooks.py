"""Webhooks: signed with a secret alone, to public addresses alone, and none waits for another."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster.queue.events import Event
from cluster.queue.spec import JobSpec
from cluster.queue.webhooks import (
    HEADER,
    SECRET,
    WebhookError,
    Webhooks,
    allowed_address,
    post,
    signature,
)

EVENT = Event(number=1, state="queued", time=0)


class Taken(list[tuple[str, dict[str, str]]]):
    """What a server was told: path and headers of each request."""

    url = ""


@pytest.fixture
def taken() -> Iterator[Taken]:
    found = Taken()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/slow":
                time.sleep(1)
            found.append((self.path, dict(self.headers)))
            self.send_response(302 if self.path == "/moved" else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keeps quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://localhost:{server.server_port}"
        yield found
        server.shutdown()


def spec(url: str) -> JobSpec:
    return JobSpec(id="job", kind="c", webhook=url)


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_secret_nothing_looks_signed(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    if secret is not None:
        monkeypatch.setenv(SECRET, secret)
    assert post(f"{taken.url}/x", b"{}", private=True)
    assert HEADER not in taken[0][1]
    monkeypatch.setenv(SECRET, "s")
    assert signature(b"{}")[HEADER].startswith("sha256=")


@pytest.mark.parametrize(
    ("host", "public", "private"),
    [
        ("8.8.8.8", True, True),
        ("127.0.0.1", False, True),
        ("localhost", False, True),
        ("10.1.2.3", False, True),
        ("192.168.0.9", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("fd12::1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("fd00:ec2::254", False, False),
        ("100.100.100.200", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
        ("2130706433", False, True),  # 127.0.0.1 as one number
    ],
)
def test_only_public_addresses_are_posted_to_unless_private_ones_are_allowed(
    host: str, public: bool, private: bool
) -> None:
    for allowed, expected in ((False, public), (True, private)):
        if expected:
            assert allowed_address(host, allowed) is not None
        else:
            with pytest.raises(WebhookError, match="expected a webhook at a public"):
                allowed_address(host, allowed)


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, names = socket.getaddrinfo, []

    def changing(host: str, *args: object, **options: object) -> object:
        if host == "rebinds.example":
            names.append(host)
            host = "127.0.0.1" if len(names) == 1 else "10.255.255.1"
        return look(host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    assert post(taken.url.replace("localhost", "rebinds.example"), b"{}", private=True)
    assert names == ["rebinds.example"]
    assert taken[0][1]["Host"].startswith("rebinds.example:")


def test_where_a_server_sends_elsewhere_nothing_follows(taken: Taken) -> None:
    assert not post(f"{taken.url}/moved", b"{}", private=True)
    assert [path for path, _ in taken] == ["/moved"]


def test_a_dead_url_delays_no_other_and_notices_of_one_come_in_order(taken: Taken) -> None:
    hooks = Webhooks(private=True)
    hooks.tell(spec("http://127.0.0.1:9/dead"), EVENT)
    hooks.tell(spec(f"{taken.url}/slow"), EVENT)
    for number in range(3):
        hooks.tell(spec(f"{taken.url}/quick?{number}"), EVENT)
    for _ in range(200):
        if len(taken) == 4:
            break
        time.sleep(0.05)
    assert [path for path, _ in taken][-1] == "/slow"
    assert sorted(path for path, _ in taken)[:3] == [f"/quick?{number}" for number in range(3)]


def test_what_is_refused_is_told_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    Webhooks().tell(spec("http://127.0.0.1:9/"), EVENT)
    said = ""
    for _ in range(100):
        said += capsys.readouterr().out
        if said:
            break
        time.sleep(0.05)
    assert "expected a webhook at a public address; 127.0.0.1 is at 127.0.0.1" in said
    assert "private_webhooks: true" in said
