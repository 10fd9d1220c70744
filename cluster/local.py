"""A Ray cluster of this machine alone, started and stopped; and how a process connects to Ray."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.exits import exits
from flowkd.errors import FlowkdError

LOOPBACK = "127.0.0.1"
PROC = Path("/proc")
RECORD = Path(".flowkd/cluster.json")
START_SECONDS = 90
STOP_SECONDS = 15
OBJECT_STORE_BYTES = 256 * 1024**2


def ray_environment() -> dict[str, str]:
    """Returns the environment in which a cluster of this machine is started.

    What is set already stays, but for the addresses of another cluster; this Python comes first.
    Processes that only connect to it need none of this: see `connect`.
    """
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",  # all listens on loopback
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray takes the network's address
    }
    others = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**defaults, **kept, "PATH": path}


@dataclass(frozen=True)
class LocalCluster:
    """A cluster that `up` started.

    Attributes:
        pid: Process id of `ray start`, which leads the group of all its processes.
        address: host:port of Ray's control store (GCS), as RAY_ADDRESS takes it.
        dashboard: URL of the dashboard and of the job server.
        folder: Ray's temporary folder.
    """

    pid: int
    address: str
    dashboard: str
    folder: str

    def alive(self) -> bool:
        """Tells whether its process still runs, and is no other of the same number."""
        try:
            if PROC.is_dir():
                command = (PROC / str(self.pid) / "cmdline").read_bytes()
            else:  # as on macOS
                ps = ["ps", "-ww", "-p", str(self.pid), "-o", "command="]
                command = subprocess.run(ps, capture_output=True, check=False).stdout
        except OSError:
            return False
        return self.folder in command.decode(errors="replace")


def up(*, cpus: int | None = None, record: Path = RECORD) -> LocalCluster:
    """Starts a cluster on this machine, on loopback, or returns the one that runs.

    Args:
        cpus: Number of CPUs that Ray may hand out; default those of the machine, at least 4, so
            that a training and a served student fit beside each other.
        record: JSON file that remembers it for `down`; default `.flowkd/cluster.json`.

    Raises:
        FlowkdError: It did not come up; the end of its log is in the message.
    """
    running = recorded(record)
    if running:
        return running
    folder = tempfile.mkdtemp(prefix="flowkd-")
    gcs, dashboard, *others = _free_ports(7)
    names = (
        "ray-client-server-port",
        "node-manager-port",
        "object-manager-port",
        "dashboard-agent-listen-port",
        "metrics-export-port",
    )
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        f"--node-ip-address={LOOPBACK}", f"--port={gcs}",
        "--include-dashboard=true", f"--dashboard-host={LOOPBACK}", f"--dashboard-port={dashboard}",
        *(f"--{name}={port}" for name, port in zip(names, others, strict=True)),
        f"--num-cpus={cpus or least_cpus()}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={folder}", "--disable-usage-stats",
    ]  # fmt: skip
    log = Path(folder, "start.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=ray_environment(),
            start_new_session=True,
        )
    cluster = LocalCluster(
        process.pid, f"{LOOPBACK}:{gcs}", f"http://{LOOPBACK}:{dashboard}", folder
    )
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(asdict(cluster)), encoding="utf-8")
    deadline = time.monotonic() + START_SECONDS
    while not _answers(f"{cluster.dashboard}/api/version"):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            down(record=record)
            raise FlowkdError(f"Ray did not start within {START_SECONDS} s; its log ends:\n{tail}")
        time.sleep(0.2)
    return cluster


def down(*, record: Path = RECORD) -> bool:
    """Stops the cluster that `up` started and all that runs on it; False if there is none."""
    cluster = recorded(record)
    if cluster is None:
        record.unlink(missing_ok=True)
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(cluster.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _group_alive(cluster.pid) and time.monotonic() < deadline:
        _reap(cluster.pid)
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(cluster.pid, signal.SIGKILL)
    _reap(cluster.pid)
    record.unlink(missing_ok=True)
    shutil.rmtree(cluster.folder, ignore_errors=True)
    return True


def least_cpus() -> int:
    """Returns the CPUs of a cluster that `up` starts when it is told none."""
    return max(4, os.cpu_count() or 1)


def recorded(record: Path = RECORD) -> LocalCluster | None:
    """Returns the cluster that `up` started here, if it still runs."""
    try:
        cluster = LocalCluster(**json.loads(record.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise FlowkdError(
            f"{record} does not tell which cluster runs here: end its processes, if there are any, "
            f"and remove the file"
        ) from error
    return cluster if cluster.alive() else None


def connect(address: str | None = None) -> str:
    """Connects this process to Ray and returns the address.

    Args:
        address: As RAY_ADDRESS takes it. By default that of RAY_ADDRESS if it is set, as it is
            within a submitted job; else that of the local cluster, which is started if need be.
    """
    import ray

    if ray.is_initialized():
        return ray.get_runtime_context().gcs_address
    address = address or os.environ.get("RAY_ADDRESS") or up().address
    if address.startswith(LOOPBACK):
        # Ray would look for the cluster at the address that this machine has in its network. It
        # reads RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 only when it is imported, which has happened.
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(address=address, log_to_driver=False, logging_level="WARNING")
    return address


def disconnect() -> None:
    """Ends this process's connection to Ray; what it runs there ends too."""
    import ray

    ray.shutdown()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def main() -> None:
    """Runs `python -m cluster.local up|down|status`."""
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    if action == "up":
        cluster = up()
        print(f"Ray is up: RAY_ADDRESS={cluster.address}, dashboard {cluster.dashboard}")
    elif action == "down":
        print("Ray is down" if down() else "no cluster was up")
    elif action == "status":
        found = recorded()
        print(f"up: RAY_ADDRESS={found.address}, dashboard {found.dashboard}" if found else "down")
    else:
        raise SystemExit("usage: python -m cluster.local up|down|status")


if __name__ == "__main__":
    with exits():
        main()
