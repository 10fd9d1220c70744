"""A real S3 server from PyPI: OpenStack Swift, four processes on loopback.

Reads and listings follow a write at once, as on AWS. Conditional writes are weaker than there:
If-None-Match is not atomic and If-Match answers 501.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

from .s3 import await_bucket, environment, reserve_port

_BACKENDS = {"account": "account", "container": "container", "object": "obj"}

# Swift's own timeouts fit a data centre. On a busy laptop they lose listings without a word, for
# no updater daemon runs here: so every server waits a minute, and no node is ever suspended.
_PATIENT = """\
conn_timeout = 30
node_timeout = 60
recoverable_node_timeout = 60
container_update_timeout = 60
client_timeout = 60
error_suppression_limit = 1000000000
"""

_DEFAULTS = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
bind_timeout = 2
workers = 0
swift_dir = {folder}
devices = {folder}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
log_requests = false
eventlet_debug = false
"""

_BACKEND = """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{app}
"""

_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
{patient}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_flowkd = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""

_RINGS = """
import sys
from swift.common.ring import RingBuilder

folder, *ports = sys.argv[1:]
for kind, port in zip(("account", "container", "object"), ports, strict=True):
    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    where = {"ip": "127.0.0.1", "port": int(port), "device": "disk"}
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, **where})
    builder.rebalance(seed="1")
    builder.get_ring().save(f"{folder}/{kind}.ring.gz")
"""

# PR_SET_PDEATHSIG: a server outlives no test run, however that ended.
_MAIN = """
import ctypes
ctypes.CDLL(None).prctl(1, 9)
from swift.{module}.server import main
main()
"""


class SwiftServer:
    """An S3 server with one bucket: a context manager; its logs stay in `folder`.

    Objects live on disk, where `stop()` and `start()` keep them. Swift needs extended attributes
    for that; on a filesystem without them (`persistent` is then False) objects live in the memory
    of the object server. Enter it from the main thread: the servers end with the thread that
    started them.

    Args:
        folder: An empty folder for configuration, objects and logs.
        bucket: The bucket that it creates.
        timeout: Seconds within which it must answer.
    """

    def __init__(self, folder: Path, *, bucket: str = "flowkd", timeout: float = 60.0) -> None:
        self.folder = folder.resolve()
        self.bucket = bucket
        self.timeout = timeout
        self.access_key = "test:flowkd"
        self.secret_key = secrets.token_hex(16)
        self.persistent = _has_xattr(self.folder)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reserved: dict[str, socket.socket] = {}

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self._port('proxy')}"

    def uri(self, prefix: str = "") -> str:
        """Returns the URI of a prefix in the bucket."""
        return f"s3://{self.bucket}/{prefix}".rstrip("/")

    def environment(self) -> dict[str, str]:
        """Returns what s3fs and botocore must find in the environment, and nothing else."""
        return environment(self.endpoint, self.access_key, self.secret_key)

    def __enter__(self) -> SwiftServer:
        try:
            self._prepare()
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start(self) -> None:
        """Starts the servers on their ports, and returns once the bucket is there."""
        for kind in ("account", "container", "object", "proxy"):
            main = _MAIN.format(module=_BACKENDS.get(kind, kind))
            with open(self.folder / f"{kind}.log", "ab") as log:
                self.processes[kind] = subprocess.Popen(
                    [sys.executable, "-c", main, f"{self.folder}/{kind}.conf", "-v"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        await_bucket(self.bucket, self.environment(), self.timeout, self._death)

    def stop(self) -> None:
        """Stops the servers: SIGTERM, and SIGKILL for those still there after 5 seconds."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + 5
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def logs(self) -> str:
        """Returns the end of every server's log."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _prepare(self) -> None:
        (self.folder / "disk").mkdir()
        if not self.persistent:
            warnings.warn(
                f"{self.folder} has no extended attributes (user.*), so Swift keeps its objects "
                "in memory and loses them at stop(); set TMPDIR to a folder on ext4, xfs or btrfs",
                stacklevel=3,
            )
        self._reserved = {kind: reserve_port() for kind in ("proxy", *_BACKENDS)}
        self._write("swift.conf", "[swift-hash]\nswift_hash_path_suffix = flowkd\n")
        apps = {"proxy": _PROXY.format(secret=self.secret_key, patient=_PATIENT)}
        for kind in _BACKENDS:
            in_memory = kind == "object" and not self.persistent
            app = "mem_object" if in_memory else kind
            apps[kind] = _BACKEND.format(kind=kind, app=app) + _PATIENT
        for kind, app in apps.items():
            defaults = _DEFAULTS.format(port=self._port(kind), folder=self.folder)
            self._write(f"{kind}.conf", defaults + app)
        ports = [str(self._port(kind)) for kind in _BACKENDS]
        subprocess.run(
            [sys.executable, "-c", _RINGS, str(self.folder), *ports],
            check=True,
            timeout=self.timeout,
        )

    def _end(self) -> None:
        self.stop()
        for each in self._reserved.values():
            each.close()
        shutil.rmtree(self.folder / "disk", ignore_errors=True)

    def _port(self, kind: str) -> int:
        return int(self._reserved[kind].getsockname()[1])

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def _death(self) -> str:
        dead = [kind for kind, process in self.processes.items() if process.poll() is not None]
        return f"Swift in {self.folder} ended: {dead}\n{self.logs()}" if dead else ""


def _has_xattr(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        os.setxattr(folder, "user.flowkd", b"x" * 1024)
        os.removexattr(folder, "user.flowkd")
    except OSError:
        return False
    return True
