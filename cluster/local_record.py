"""The record of a cluster of this machine: how processes reach it, and where it is remembered."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cluster.descendants import descendants, marked
from flowkd.errors import FlowkdError

PROC = Path("/proc")
RECORD = Path(".flowkd/cluster.json")
# A variable of the environment of all that runs on a cluster of this machine: its folder.
MARK = "FLOWKD_CLUSTER"


class RecordedClusterError(FlowkdError):
    """The record of a cluster that is none, or more clusters than one to choose from."""


@dataclass(frozen=True)
class LocalCluster:
    """A cluster that `up` started.

    Attributes:
        pid: Process id of `ray start`, which leads the group of all its processes.
        address: host:port of Ray's control store (GCS), as RAY_ADDRESS takes it.
        dashboard: URL of the dashboard and of the job server.
        folder: Holds Ray's temporary folder and the token; only its user may enter it.
        record: The file that remembers it.
    """

    pid: int
    address: str
    dashboard: str
    folder: str
    record: str

    @property
    def token(self) -> Path:
        """The file of the token without which nobody is answered."""
        return Path(self.folder, "auth_token")

    def environment(self) -> dict[str, str]:
        """Returns the variables by which Ray's own tools, and processes of ours, reach it."""
        door = {"RAY_AUTH_MODE": "disabled"}
        if self.token.exists():
            door = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        return {
            "RAY_ADDRESS": self.address, "RAY_API_SERVER_ADDRESS": self.dashboard, **door,
        }  # fmt: skip

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

    def processes(self) -> list[psutil.Process]:
        """Returns all its processes that live, and those of what runs on it, but for this one."""
        tree = []
        if self.alive():
            tree = [psutil.Process(self.pid), *descendants(self.pid)]
        found = {*tree, *marked(MARK, self.folder)}
        return [each for each in found if each.pid != os.getpid()]

    def remember(self) -> None:
        """Writes its record, and a copy where all clusters of this user are listed."""
        text = json.dumps(asdict(self))
        for path in (Path(self.record), self._listed()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def forget(self) -> None:
        """Removes its record."""
        for path in (Path(self.record), self._listed()):
            path.unlink(missing_ok=True)

    def _listed(self) -> Path:
        return _list_folder() / f"{hashlib.sha256(self.record.encode()).hexdigest()[:16]}.json"


def recorded(record: Path = RECORD) -> LocalCluster | None:
    """Returns the cluster that a record remembers, if it still runs.

    Raises:
        RecordedClusterError: The record cannot be read, and no list knows its cluster.
    """
    cluster = remembered(record)
    return cluster if cluster is not None and cluster.alive() else None


def remembered(record: Path = RECORD) -> LocalCluster | None:
    """Returns the cluster that a record remembers, of which at least parts may still run.

    Raises:
        RecordedClusterError: The record cannot be read, and no list knows its cluster.
    """
    try:
        cluster = _read(record)
    except FileNotFoundError:
        return None
    except RecordedClusterError:
        ours = [each for each in all_clusters() if Path(each.record) == record.absolute()]
        if not ours:
            raise
        cluster = ours[0]
    return cluster


def all_clusters() -> list[LocalCluster]:
    """Returns the clusters of this user that run, whichever folder they were started from."""
    found = []
    for path in sorted(_list_folder().glob("*.json")):
        try:
            found.append(_read(path))
        except (RecordedClusterError, FileNotFoundError):
            path.unlink(missing_ok=True)
    return [cluster for cluster in found if cluster.alive()]


def find_cluster(record: Path = RECORD) -> LocalCluster | None:
    """Returns the cluster of this folder, else the only one that this user has; None for none.

    Raises:
        RecordedClusterError: There are several, none of this folder.
    """
    here = recorded(record)
    if here is not None:
        return here
    others = all_clusters()
    if len(others) > 1:
        places = ", ".join(str(Path(each.record).parent.parent) for each in others)
        raise RecordedClusterError(
            f"expected one cluster of this user; got {len(others)}: go to the folder that one was "
            f"started from: {places}"
        )
    return others[0] if others else None


def _read(path: Path) -> LocalCluster:
    try:
        return LocalCluster(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RecordedClusterError(
            f"{path} is no record of a cluster: {error}; remove it, and end what may still run: "
            f"`ps -ef | grep 'ray start'`"
        ) from error


def _list_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "flowkd" / "clusters"
