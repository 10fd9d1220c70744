"""Where the faults happen: a cluster, its two stores, their dispatchers, and all its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from benchmarks.chaos.tracebacks import ROOT, LogWatch, own_tracebacks
from benchmarks.chaos.witness import FOLDER, STORE
from cluster.local import down, up
from cluster.queue.config import QueueConfig
from cluster.queue.records import QueueRecords
from cluster.queue.service import NAMESPACE, name_of
from flowkd.store.store import Store
from tests.support.servers.faults import FaultProxy
from tests.support.servers.moto import MotoServer

STORES = ("disk", "s3")
CPUS = 4
COMMAND_SECONDS = 180
# An attempt is given up after 12 s of silence: what freezes is frozen for longer than that.
CONFIG = QueueConfig.model_validate(
    {
        "poll_interval": 0.3, "heartbeat_timeout": 8, "grace_period": 2, "loss_margin": 2,
        "resource_settle_period": 0, "start_timeout": 120,
        "commands": {
            "quick": ["python", "-m", "benchmarks.chaos.quick", "{config}"],
            "fails": ["python", "-c", "raise SystemExit(1)"],
        },
    }
)  # fmt: skip
END_ACTOR = """
import ray, sys
from cluster.local import connect
connect(sys.argv[1])
ray.kill(ray.get_actor(sys.argv[2], namespace=sys.argv[3]))
"""


class Site:
    """A cluster of its own with a store on disk and one on S3; a context manager.

    Args:
        folder: For all that it writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.ledger = folder, folder / "ledger"
        self.record = folder / "cluster.json"
        self._stack = ExitStack()
        self._changed: dict[str, str | None] = {}
        self.said: list[str] = []  # tracebacks in what commands printed

    def __enter__(self) -> Site:
        with ExitStack() as stack:
            self._enter(stack)
            self._stack = stack.pop_all()
        return self

    def _enter(self, stack: ExitStack) -> None:
        for name in ("ledger", "site", "store"):
            (self.folder / name).mkdir()
        hook = "from benchmarks.chaos.witness import attend\n\nattend()\n"
        (self.folder / "site" / "sitecustomize.py").write_text(hook, encoding="utf-8")
        server = stack.enter_context(MotoServer(self.folder))
        self.proxy = stack.enter_context(FaultProxy(server.endpoint))
        stack.callback(self._restore)
        self._change("RAY_ADDRESS", None)
        self._change("FLOWKD_STORE", None)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
            self._change(name, None)
        for name, value in server.environment().items():
            self._change(name, value.replace(server.endpoint, self.proxy.endpoint))
        disk = str(self.folder / "store")
        self.stores = {"disk": Store(disk), "s3": Store(server.uri("chaos"), retry_seconds=20)}
        path = os.pathsep.join(map(str, (self.folder / "site", ROOT)))
        self._environment = {FOLDER: str(self.ledger), STORE: disk, "PYTHONPATH": path}
        stack.callback(self._end)
        self.logs = LogWatch([])
        self.start_head()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def records(self, store: str) -> QueueRecords:
        """Returns the queue's records in a store."""
        return QueueRecords(self.stores[store])

    def start_head(self) -> None:
        """Starts the cluster and both dispatchers, as `flowkd up` does."""
        self.cluster = up(cpus=CPUS, record=self.record, environment=self._environment)
        self.logs.folders.append(Path(self.cluster.folder))
        for store in STORES:
            self.dispatch(store)

    def kill_head(self) -> None:
        """Kills every process of the head at once, as a crash of its machine does."""
        group = [p for p in psutil.process_iter() if _group_of(p.pid) == self.cluster.pid]
        os.killpg(self.cluster.pid, signal.SIGKILL)
        psutil.wait_procs(group, timeout=20)
        with suppress(ChildProcessError):
            os.waitpid(self.cluster.pid, os.WNOHANG)

    def dispatch(self, store: str, name: str | None = None) -> int:
        """Starts a store's dispatcher, if it does not run, and returns its process."""
        uri = self.stores[store].uri
        path = self.folder / "queue.yaml"
        path.write_text(json.dumps(CONFIG.model_dump(mode="json")), encoding="utf-8")
        words = ["-m", "jobs.dispatcher", "--store", uri, "--config", str(path)]
        said = self.command([*words, "--name", name or name_of(uri)])
        return int(json.loads(said.splitlines()[-1])["pid"])

    def end_dispatcher(self, name: str) -> None:
        """Ends a dispatcher for good."""
        self.command(["-c", END_ACTOR, self.cluster.address, name, NAMESPACE])

    def command(self, words: list[str], *, check: bool = True) -> str:
        """Runs Python with arguments as a user of the cluster does, and returns what it says."""
        done = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, **self.cluster.environment(), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=COMMAND_SECONDS, cwd=self.folder,
        )  # fmt: skip
        self.said += [f"{' '.join(words[:4])}: {each}" for each in own_tracebacks(done.stdout)]
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def flowkd(self, *words: str, store: str) -> str:
        """Runs a command of flowkd's on a store, whatever comes of it; returns what it says."""
        uri = self.stores[store].uri
        return self.command(["-m", "jobs.cli.main", *words, "--store", uri], check=False)

    def processes(self) -> Iterator[psutil.Process]:
        """Yields the processes that this cluster, or a former head of it, started."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get(FOLDER) == str(self.ledger)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def find(self, *parts: str) -> list[psutil.Process]:
        """Returns the processes of the cluster whose command line has all these parts."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                words = " ".join(process.cmdline())
                if all(part in words for part in parts):
                    found.append(process)
        return found

    def runner(self, store: str, job: str) -> psutil.Process | None:
        """Returns the process that runs an attempt at a job."""
        found = self.find("cluster.queue.runner", f" {job} ", self.stores[store].uri)
        return next((each for each in found if "python" in each.name()), None)

    def tracebacks(self) -> list[str]:
        """Returns the tracebacks of flowkd's that were written since the last call."""
        said, self.said = self.said, []
        return self.logs.look() + said

    def _end(self) -> None:
        self.proxy.reset()
        (self.ledger / "full").unlink(missing_ok=True)
        down(record=self.record)
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()

    def _change(self, name: str, value: str | None) -> None:
        self._changed.setdefault(name, os.environ.get(name))
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value

    def _restore(self) -> None:
        for name, value in self._changed.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def wait_for(true: Callable[[], object], seconds: float) -> bool:
    """Waits until a function returns something true; False if it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1
