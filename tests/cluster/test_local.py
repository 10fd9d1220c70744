"""A driver on the local cluster stays on loopback; imports change nothing; threads follow CPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.descendants import lives
from cluster.local import STAYS, down, up
from cluster.local_record import RECORD, LocalCluster, RecordedClusterError, find_cluster, recorded
from cluster.ports import LOOPBACK
from flowkd.errors import FlowkdError
from tests.support import ROOT
from tests.support.daemons import DAEMON, daemon
from tests.support.queues import wait_for

WITHOUT_RAY = [
    "cluster",
    "cluster.exits",
    "cluster.storage",
    "cluster.local",
    "cluster.queue.dispatcher",
    "cluster.queue.runner",
    "cluster.queue.submission",
    "cluster.serve",
    "cluster.train.checkpoints",
    "cluster.train.preflight",
]
ON_RAY = [
    "cluster.queue.service",
    "cluster.ray_tasks",
    "cluster.serve.deployment",
    "cluster.train.launch",
]
IMPORT = """
    import importlib, json, os, sys
    found = {{}}
    for module in {modules!r}:
        before = dict(os.environ)
        importlib.import_module(module)
        found[module] = [name for name, value in os.environ.items() if before.get(name) != value]
    print(json.dumps({{"ray": "ray" in sys.modules, "changed": found}}))
"""
DRIVER = """
    import json, os, psutil, ray
    from cluster.local import connect
    from cluster.ray_tasks import TaskPool  # imports Ray, as jobs do, before they connect

    connect()
    threads = ray.remote(lambda: os.environ["OMP_NUM_THREADS"])
    mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
    print(json.dumps({
        "address": ray.util.get_node_ip_address(),
        "listens": sorted({c.laddr.ip for p in mine for c in p.net_connections("tcp")}),
        "threads": [ray.get(threads.options(num_cpus=n).remote()) for n in (1, 2)],
    }))
"""


@pytest.mark.parametrize("proc", ["/proc", "/without"])
def test_a_cluster_is_found_with_and_without_proc(proc, monkeypatch, tmp_path):
    """A process whose command names the cluster's folder stands for it; macOS has no /proc."""
    monkeypatch.setattr("cluster.local_record.PROC", Path(proc))
    code = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, f"--temp-dir={tmp_path}"]) as process:
        try:
            clusters = [
                LocalCluster(pid, "", "", folder, "")
                for pid, folder in (
                    (process.pid, str(tmp_path)),
                    (process.pid, f"{tmp_path}-of-another"),
                    (2**22 + 1, str(tmp_path)),
                )
            ]
            wait_for(clusters[0].alive)
            assert [cluster.alive() for cluster in clusters] == [True, False, False]
        finally:
            process.kill()
    assert not clusters[0].alive()


@pytest.fixture(scope="module")
def plain_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster that is started where nobody has set anything of Ray's."""
    record = tmp_path_factory.mktemp("ray") / "cluster.json"
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(plain()):
            patch.delenv(name)
        cluster = up(cpus=2, record=record)
    yield cluster
    assert down(record=record)


def plain() -> dict[str, str]:
    """Returns this process's environment without anything that concerns Ray."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RAY_") and name != "OMP_NUM_THREADS"
    }


def run(code: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program where nobody has set anything of Ray's but this."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=cwd,
        env={**plain(), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def told(code: str, **environment: str) -> dict[str, object]:
    """Returns what such a program prints."""
    found: dict[str, object] = json.loads(run(code, **environment).stdout.splitlines()[-1])
    return found


def test_an_import_that_needs_no_ray_leaves_the_environment_as_it_was() -> None:
    found = told(IMPORT.format(modules=WITHOUT_RAY))
    assert found == {"ray": False, "changed": {module: [] for module in WITHOUT_RAY}}


def test_no_import_sets_the_number_of_threads() -> None:
    found = told(IMPORT.format(modules=ON_RAY))
    assert found["ray"]
    assert all("OMP_NUM_THREADS" not in changed for changed in found["changed"].values())


@pytest.mark.cluster
def test_all_of_the_cluster_keeps_to_loopback_and_reports_nothing(
    plain_cluster: LocalCluster,
) -> None:
    def process(name: str) -> psutil.Process | None:
        started = psutil.Process(plain_cluster.pid).children(recursive=True)
        return next((each for each in started if each.name() == name), None)

    for name in ("gcs_server", "raylet"):
        wait_for(lambda name=name: process(name))
        found = process(name)
        assert found is not None
        environment = found.environ()
        assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
        assert environment["RAY_AUTH_MODE"] == "token"
        assert "OMP_NUM_THREADS" not in environment
        wait_for(found.net_connections)
        listens = {each.laddr.ip for each in found.net_connections("tcp")}
        assert listens
        assert all(address.endswith(LOOPBACK) for address in listens)


@pytest.mark.cluster
def test_a_driver_without_settings_stays_on_loopback(plain_cluster: LocalCluster) -> None:
    found = told(DRIVER, RAY_ADDRESS=plain_cluster.address)  # it finds the token by itself
    assert found["address"] == LOOPBACK
    assert found["listens"]
    assert all(address.endswith(LOOPBACK) for address in found["listens"])
    assert found["threads"] == ["1", "2"]


@pytest.mark.cluster
def test_who_has_no_token_is_refused_at_every_door(plain_cluster: LocalCluster) -> None:
    assert plain_cluster.token.stat().st_mode & 0o077 == 0
    assert Path(plain_cluster.folder).stat().st_mode & 0o077 == 0
    for path in ("/api/jobs/", "/api/version", "/nodes?view=summary", "/api/serve/applications/"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(plain_cluster.dashboard + path, timeout=10)
    job = json.dumps({"entrypoint": "true"}).encode()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Host": "evil.example"}):
        request = urllib.request.Request(f"{plain_cluster.dashboard}/api/jobs/", job, headers)
        with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
            urllib.request.urlopen(request, timeout=10)
    refused = subprocess.run(
        [sys.executable, "-c", "import ray; ray.init()"],
        env={
            **plain(), "RAY_ADDRESS": plain_cluster.address, "RAY_AUTH_MODE": "disabled",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        },
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert refused.returncode
    assert "authenticat" in refused.stderr.lower()


@pytest.mark.cluster
def test_a_cluster_is_found_from_any_folder_and_a_second_start_returns_it(
    plain_cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_cluster() == plain_cluster
    record = Path(plain_cluster.record)
    assert up(record=record) == plain_cluster
    whole = record.read_text()
    for damage in ("", "{", "[]", '{"pid": 1}', whole[:20]):
        record.write_text(damage)
        assert recorded(record) == plain_cluster  # the list of all knows it
    record.write_text(whole)


def test_a_damaged_record_of_nobody_is_named(tmp_path: Path) -> None:
    record = tmp_path / "cluster.json"
    record.write_text("{")
    with pytest.raises(RecordedClusterError, match="is no record of a cluster"):
        recorded(record)


@pytest.mark.cluster
def test_a_ray_that_ends_before_it_is_up_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.local.OBJECT_STORE_BYTES", 1)  # which Ray refuses
    with pytest.raises(FlowkdError, match=r"(?s)ended with exit code \d+ before.*log ends:"):
        up(cpus=1, record=tmp_path / "cluster.json")
    assert list(tmp_path.glob("*.json")) == []


LEAVES = """
    import json, os, ray, subprocess
    from cluster import local
    from cluster.local import connect

    local.least_cpus = lambda: 1

    class Stays:
        def start(self, command):
            return subprocess.call(["/bin/sh", "-c", command])

    connect()
    actor = ray.remote(Stays).options(lifetime="detached", num_cpus=0).remote()
    print(json.dumps(ray.get(actor.start.remote(os.environ["COMMAND"]))))
"""


@pytest.mark.cluster
def test_a_cluster_that_is_stopped_leaves_no_process(tmp_path: Path) -> None:
    record = tmp_path / RECORD
    try:
        file = tmp_path / "pid"
        said = run(LEAVES, cwd=tmp_path, PYTHONPATH=str(ROOT), COMMAND=daemon(DAEMON, file)).stderr
        assert said.splitlines()[-1] == STAYS
        cluster = recorded(record)
        session = psutil.Process(int(file.read_text()))
        known = [session, psutil.Process(cluster.pid), *cluster.processes()]
        assert len(known) > 5
    finally:
        assert down(record=record)
    wait_for(lambda: not any(map(lives, known)), 5, lambda: list(filter(lives, known)))
    assert cluster.processes() == []
    assert not Path(cluster.folder).exists()
