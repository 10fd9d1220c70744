"""A second S3 server with other semantics: moto, one process on loopback, all in memory.

Conditional writes are those of AWS: If-None-Match is atomic, and If-Match works. Any secret will
do, and everything is gone when it ends.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

from .s3 import await_bucket, environment, reserve_port

# moto looks whether an object is there, and later puts it: only one request at a time makes that
# atomic. PR_SET_PDEATHSIG: the server outlives no test run, however that ended.
_MAIN = """
import ctypes, sys, threading
ctypes.CDLL(None).prctl(1, 9)
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication, MotoRequestHandler, create_backend_app
)
from werkzeug.serving import run_simple

app, one = DomainDispatcherApplication(create_backend_app), threading.Lock()

def serve(environ, start_response):
    with one:
        return list(app(environ, start_response))

run_simple("127.0.0.1", int(sys.argv[1]), serve, threaded=True, request_handler=MotoRequestHandler)
"""


class MotoServer:
    """An S3 server with one bucket: a context manager; its log stays in `folder`.

    Enter it from the main thread: the server ends with the thread that started it.

    Args:
        folder: For its log.
        bucket: The bucket that it creates.
        timeout: Seconds within which it must answer.
    """

    def __init__(self, folder: Path, *, bucket: str = "flowkd", timeout: float = 60.0) -> None:
        self.log = folder / "moto.log"
        self.bucket = bucket
        self.timeout = timeout
        self._secret = secrets.token_hex(16)

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self._reserved.getsockname()[1]}"

    def uri(self, prefix: str = "") -> str:
        """Returns the URI of a prefix in the bucket."""
        return f"s3://{self.bucket}/{prefix}".rstrip("/")

    def environment(self) -> dict[str, str]:
        """Returns what s3fs and botocore must find in the environment, and nothing else."""
        return environment(self.endpoint, "flowkd", self._secret)

    def __enter__(self) -> MotoServer:
        self._reserved = reserve_port()
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, self.endpoint.rsplit(":", 1)[1]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            await_bucket(self.bucket, self.environment(), self.timeout, self._death)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reserved.close()

    def _death(self) -> str:
        ended = self._process.poll()
        log = self.log.read_text(errors="replace")[-4000:]
        return "" if ended is None else f"moto ended with {ended}:\n{log}"
