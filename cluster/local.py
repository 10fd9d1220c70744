"""A Ray cluster of this machine alone, started and stopped; and how a process connects to Ray."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psutil

from cluster.descendants import end_processes, lives
from cluster.exits import exits
from cluster.local_record import (
    MARK,
    RECORD,
    LocalCluster,
    all_clusters,
    recorded,
    remembered,
)
from cluster.ports import LOOPBACK, free_ports
from flowkd.errors import FlowkdError

STALLED_SECONDS = 90.0  # without a sign of progress: then Ray is given up
TELL_SECONDS = 10.0
STOP_SECONDS = 10.0
STAYS = "Ray stays up on this machine for what comes next: `flowkd down` stops it"
OBJECT_STORE_BYTES = 256 * 1024**2
PORTS = ("port", "dashboard-port", "ray-client-server-port")
# Those that nobody is told of beforehand are the kernel's choice when Ray listens. An agent whose
# port somebody else has taken in the meantime lives on without one, and no job ever starts.
OWN_PORTS = (
    "node-manager-port", "object-manager-port", "dashboard-agent-listen-port",
    "metrics-export-port",
)  # fmt: skip


def ray_environment(token: Path | None = None) -> dict[str, str]:
    """Returns the environment in which a cluster of this machine is started.

    What is set already stays, but for the addresses and the token of another cluster; this Python
    comes first. Processes that only connect to it need none of this: see `connect`.

    Args:
        token: File of the token that it asks for; None to ask for none.
    """
    others = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    door = {"RAY_AUTH_MODE": "disabled"}
    if token is not None:
        door = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray takes the network's address
        **kept,
        **door,
        "PATH": path,
    }


def up(
    *, cpus: int | None = None, record: Path = RECORD, environment: Mapping[str, str] | None = None
) -> LocalCluster:
    """Starts a cluster on this machine, on loopback, or returns the one that runs.

    It answers only those who have its token, a file that only this user may read.

    Args:
        cpus: Number of CPUs that Ray may hand out; default those of the machine, at least 4, so
            that a training and a served student fit beside each other.
        record: JSON file that remembers it for `down`; default `.flowkd/cluster.json`.
        environment: More variables for all that runs on it; default none.

    Raises:
        FlowkdError: It did not come up; the end of its log is in the message.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two at once, the second returns the first one's
        return recorded(record) or _start(cpus, record, environment or {})


def _start(cpus: int | None, record: Path, environment: Mapping[str, str]) -> LocalCluster:
    folder = Path(tempfile.mkdtemp(prefix="flowkd-"))  # which no other user may enter
    token = folder / "auth_token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32), encoding="utf-8")
    ports = {**dict(zip(PORTS, free_ports(len(PORTS)), strict=True)), **dict.fromkeys(OWN_PORTS, 0)}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        f"--node-ip-address={LOOPBACK}", "--include-dashboard=true",
        f"--dashboard-host={LOOPBACK}", *(f"--{name}={port}" for name, port in ports.items()),
        f"--num-cpus={cpus or least_cpus()}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={folder}/r", "--disable-usage-stats",  # which Ray opens to all
    ]  # fmt: skip
    log = folder / "start.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**ray_environment(token), **environment, MARK: str(folder)},
            start_new_session=True,
        )
    cluster = LocalCluster(
        process.pid,
        f"{LOOPBACK}:{ports['port']}",
        f"http://{LOOPBACK}:{ports['dashboard-port']}",
        str(folder),
        str(record.absolute()),
    )
    cluster.remember()
    try:
        _wait_until_up(cluster, process)
    except FlowkdError:
        down(record=record)
        raise
    return cluster


def _wait_until_up(cluster: LocalCluster, process: subprocess.Popen[bytes]) -> None:
    """Waits for as long as Ray makes progress, and tells from time to time that it waits."""
    began = changed = told = time.monotonic()
    before = -1
    while not _answers(cluster):
        now, written = time.monotonic(), _bytes_below(cluster.folder)
        if written != before:
            before, changed = written, now
        reason = ""
        if process.poll() is not None:
            reason = f"Ray ended with exit code {process.returncode} before it was up"
        elif now - changed > STALLED_SECONDS:
            reason = f"Ray wrote nothing for {STALLED_SECONDS:g} s and is not up"
        if reason:
            text = Path(cluster.folder, "start.log").read_text(encoding="utf-8", errors="replace")
            raise FlowkdError(f"{reason}; its log ends:\n{text[-2000:]}")
        if now - told > TELL_SECONDS:
            told = now
            print(f"waiting for Ray to start, {now - began:.0f} s by now", file=sys.stderr)
        time.sleep(0.2)


def _bytes_below(folder: str) -> int:
    total = 0
    for path in Path(folder).rglob("*.*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def down(*, record: Path = RECORD) -> bool:
    """Stops the cluster that `up` started and all that runs on it; False if there is none."""
    cluster = remembered(record)
    if cluster is None:
        record.unlink(missing_ok=True)
        return False
    known = set(cluster.processes())  # some outlive the one that they descend from

    def left() -> list[psutil.Process]:
        _reap(cluster.pid)
        return [each for each in known.union(cluster.processes()) if lives(each)]

    end_processes(left, STOP_SECONDS)
    cluster.forget()
    shutil.rmtree(cluster.folder, ignore_errors=True)
    return bool(known)


def least_cpus() -> int:
    """Returns the CPUs of a cluster that `up` starts when it is told none."""
    return max(4, os.cpu_count() or 1)


def connect(address: str | None = None) -> str:
    """Connects this process to Ray and returns the address.

    Args:
        address: As RAY_ADDRESS takes it. By default that of RAY_ADDRESS if it is set, as it is
            within a submitted job; else that of the local cluster, which is started if need be, and
            stays: this process says so at its end.
    """
    import ray

    if ray.is_initialized():
        return ray.get_runtime_context().gcs_address
    address = address or os.environ.get("RAY_ADDRESS") or _own().address
    _show_token(address)
    if address.startswith(LOOPBACK):
        # Ray would look for the cluster at the address that this machine has in its network. It
        # reads RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 only when it is imported, which has happened.
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(address=address, log_to_driver=False, logging_level="WARNING")
    return address


def _own() -> LocalCluster:
    known = recorded()
    if known is not None:
        return known
    cluster = up()
    atexit.register(print, STAYS, file=sys.stderr)
    return cluster


def _show_token(address: str) -> None:
    """Has Ray show the token of the local cluster at an address, if it is one of ours."""
    cluster = next((each for each in all_clusters() if each.address == address), None)
    if cluster is None:
        return
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    os.environ.update(cluster.environment())
    os.environ.pop("RAY_AUTH_TOKEN", None)
    Config.initialize("")  # Ray has read the environment when it was imported
    AuthenticationTokenLoader.instance().reset_cache()


def disconnect() -> None:
    """Ends this process's connection to Ray; what it runs there ends too."""
    import ray

    ray.shutdown()


def _answers(cluster: LocalCluster) -> bool:
    """Tells whether the job server answers, and a node is there to run what it is given."""
    token = cluster.token.read_text(encoding="utf-8")
    request = urllib.request.Request(
        f"{cluster.dashboard}/api/v0/nodes", headers={"Authorization": f"Bearer {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever is set
    try:
        with opener.open(request, timeout=5) as response:
            found = json.load(response)["data"]["result"]["result"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return any(node["state"] == "ALIVE" for node in found)


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
