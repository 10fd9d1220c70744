"""Posts each transition of a job to its webhook, signed, in the background."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
import time
from queue import Full, Queue

import httpx

from cluster.queue.events import Event
from cluster.queue.spec import JobSpec

SECRET = "FLOWKD_WEBHOOK_SECRET"  # the name of a variable of the dispatcher's environment
HEADER = "X-Flowkd-Signature-256"
TIMEOUT, ATTEMPTS, BACKOFF = 5.0, 4, 2.0
MAX_PENDING = 1000


class Webhooks:
    """Posts events as JSON; the header holds the HMAC-SHA256 of the body, as `sha256=` and hex.

    An event that cannot be delivered within some attempts is dropped with a line in the log: the
    events in the store are the record, these are notices.
    """

    def __init__(self) -> None:
        self._notices: Queue[tuple[str, bytes]] = Queue(MAX_PENDING)
        threading.Thread(target=self._post_all, daemon=True).start()

    def tell(self, spec: JobSpec, event: Event) -> None:
        """Queues the notice of a transition, if the job has a webhook; never waits."""
        if spec.webhook is None:
            return
        values = {"job": spec.id, "kind": spec.kind, "owner": spec.owner}
        body = json.dumps({**values, **event.model_dump(mode="json")}, sort_keys=True).encode()
        try:
            self._notices.put_nowait((spec.webhook, body))
        except Full:
            print(f"webhook of job {spec.id}: too many notices wait; dropped", flush=True)

    def _post_all(self) -> None:
        while True:
            url, body = self._notices.get()
            for attempt in range(ATTEMPTS):
                if post(url, body):
                    break
                time.sleep(BACKOFF * 2**attempt)
            else:
                print(f"webhook {url} did not take a notice in {ATTEMPTS} attempts", flush=True)


def post(url: str, body: bytes) -> bool:
    """Posts a body, signed; tells whether it was taken."""
    headers = {"Content-Type": "application/json", HEADER: signature(body)}
    try:
        return httpx.post(url, content=body, headers=headers, timeout=TIMEOUT).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def signature(body: bytes) -> str:
    """Returns the signature of a body, by the secret of this process's environment."""
    secret = os.environ.get(SECRET, "").encode()
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
