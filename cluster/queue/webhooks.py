"""Posts each transition of a job to its webhook, in the background."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import socket
import threading
import time
from collections import deque

import httpx

from cluster.queue.events import Event
from cluster.queue.spec import JobSpec
from flowkd.errors import FlowkdError

SECRET = "FLOWKD_WEBHOOK_SECRET"  # the name of a variable of the dispatcher's environment
HEADER = "X-Flowkd-Signature-256"
TIMEOUT, ATTEMPTS, BACKOFF = 5.0, 4, 2.0
MAX_PENDING, MAX_URLS = 1000, 50
# Where clouds tell a machine its credentials, beside the link-local 169.254.169.254.
METADATA = (ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebhookError(FlowkdError):
    """A URL to which nothing is posted, whoever asks for it."""


class Webhooks:
    """Posts events as JSON, those of one URL in their order, and no URL waits for another.

    With a secret, the header X-Flowkd-Signature-256 holds the HMAC-SHA256 of the body, as `sha256=`
    and hex; without one there is no such header. An event that cannot be delivered within some
    attempts is dropped with a line in the log: the events in the store are the record, these are
    notices.

    Args:
        private: Whether private addresses and this machine's own may be posted to; default false.
    """

    def __init__(self, private: bool = False) -> None:
        self._private = private
        self._lock = threading.Lock()
        self._pending: dict[str, deque[bytes]] = {}

    def tell(self, spec: JobSpec, event: Event) -> None:
        """Queues the notice of a transition, if the job has a webhook; never waits."""
        url = spec.webhook
        if url is None:
            return
        values = {"job": spec.id, "kind": spec.kind, "owner": spec.owner}
        body = json.dumps({**values, **event.model_dump(mode="json")}, sort_keys=True).encode()
        with self._lock:
            first = url not in self._pending
            full = sum(map(len, self._pending.values())) >= MAX_PENDING
            if full or (first and len(self._pending) >= MAX_URLS):
                print(f"webhook of job {spec.id}: too many notices wait; dropped", flush=True)
                return
            self._pending.setdefault(url, deque()).append(body)
        if first:
            threading.Thread(target=self._post_all, args=(url,), daemon=True).start()

    def _post_all(self, url: str) -> None:
        """Posts what waits for a URL, until nothing does."""
        while True:
            with self._lock:
                if not self._pending[url]:
                    del self._pending[url]
                    return
                body = self._pending[url].popleft()
            try:
                self._insist(url, body)
            except WebhookError as error:
                print(f"webhook: {error}; nothing is posted there", flush=True)

    def _insist(self, url: str, body: bytes) -> None:
        for attempt in range(ATTEMPTS):
            if post(url, body, private=self._private):
                return
            time.sleep(BACKOFF * 2**attempt)
        print(f"webhook {url} did not take a notice in {ATTEMPTS} attempts", flush=True)


def post(url: str, body: bytes, *, private: bool = False) -> bool:
    """Posts a body, signed if there is a secret; tells whether it was taken.

    Raises:
        WebhookError: The URL's host is at an address to which nothing may be posted.
    """
    headers = {"Content-Type": "application/json", **signature(body)}
    try:
        parsed = httpx.URL(url)
        address = allowed_address(parsed.host, private)
        # To the very address that was checked: another look at the name might find another one.
        target = parsed.copy_with(host=str(address))
        headers["Host"] = parsed.netloc.decode()
        with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
            return client.post(
                target, content=body, headers=headers, extensions={"sni_hostname": parsed.host}
            ).is_success
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return False


def allowed_address(host: str, private: bool) -> Address:
    """Returns an address of a host to which may be posted.

    Args:
        host: Name or address.
        private: Whether private addresses, and this machine's own, are allowed.

    Raises:
        WebhookError: None of its addresses is.
        OSError: The name cannot be resolved.
    """
    found = [
        ipaddress.ip_address(str(info[4][0]).partition("%")[0])
        for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    ]
    for address in found:
        if _allowed(address, private):
            return address
    kinds = "public or private" if private else "public"
    raise WebhookError(
        f"expected a webhook at a {kinds} address; {host} is at {found[0]}"
        + ("" if private else "; set `private_webhooks: true` in the queue's config to allow it")
    )


def _allowed(address: Address, private: bool) -> bool:
    inner = getattr(address, "ipv4_mapped", None) or address
    if inner.is_link_local or inner.is_multicast or inner.is_unspecified or inner in METADATA:
        return False
    return bool(inner.is_global or private)


def signature(body: bytes) -> dict[str, str]:
    """Returns the header with a body's signature; none if this process has no secret."""
    secret = os.environ.get(SECRET, "").encode()
    if not secret:
        return {}
    return {HEADER: f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"}
