"""MLflow's server with its database in a folder, as one process on loopback.

`mlflow server` starts several processes for the same, and takes several times as long.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from .s3 import reserve_port

# PR_SET_PDEATHSIG: the server outlives no test run, however that ended.
_MAIN = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
port, folder = sys.argv[1:]
os.environ |= {
    "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/runs.db",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": f"{folder}/artifacts",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
from mlflow.server import app
from werkzeug.serving import run_simple

client = app.test_client()
client.get("/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default")  # makes the tables
run_simple("127.0.0.1", int(port), app, threaded=True)
"""


class MlflowServer:
    """An MLflow server: a context manager; its log stays in `folder`.

    Args:
        folder: For its database and log.
        timeout: Seconds within which it must answer.
    """

    def __init__(self, folder: Path, timeout: float = 120.0) -> None:
        self._folder, self._timeout = folder, timeout

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self._reserved.getsockname()[1]}"

    def __enter__(self) -> MlflowServer:
        self._reserved = reserve_port()
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, self.url.rpartition(":")[2], str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._await_answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reserved.close()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + self._timeout
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                opener.open(f"{self.url}/health", timeout=10).close()
                return
            except OSError as error:
                ended = self._process.poll()
                if ended is not None or time.monotonic() > deadline:
                    text = (self._folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"MLflow ended with {ended}; its log:\n{text}") from error
                time.sleep(0.1)
