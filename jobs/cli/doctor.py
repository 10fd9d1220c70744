"""`flowkd doctor`: whether this machine, its packages and the store are fit, and what to do."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

from cluster.storage import check, check_place
from flowkd.errors import FlowkdError
from flowkd.store.locks import creates_are_atomic
from flowkd.store.store import Store
from flowkd.text import visible
from jobs.cli.console import Json, StoreUri, opened_store, say

NEWEST_OLD_PYTHON = (3, 10)
SERVING_PORT = 8000
GIB = 2**30
FEW_BYTES, NO_BYTES = 5 * GIB, GIB // 4
OPTIONAL = {
    "astropy": "FITS files",
    "uproot": "ROOT files",
    "h5py": "HDF5 files",
    "tensorboardX": "events for TensorBoard beside a run's metrics",
    "mlflow-skinny": "metrics for an MLflow server",
}
EXTRAS = {
    "astropy": "fits", "uproot": "root", "h5py": "data", "tensorboardX": "tensorboard",
    "mlflow-skinny": "mlflow",
}  # fmt: skip

State = Literal["ok", "note", "stops"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        what: What was looked at.
        state: `ok`; `note`: something works otherwise than it may; `stops`: nothing works.
        found: What there is.
        remedy: What to do; empty where it is ok.
    """

    what: str
    state: State
    found: str
    remedy: str = ""


def doctor(store: StoreUri = None, as_json: Json = False) -> None:
    """Look whether this machine, its packages and the store are fit, and say what to do."""
    findings = [
        python(sys.version_info[:3]),
        *torch(),
        ray(),
        port(SERVING_PORT),
        *optional_packages(),
    ]
    try:
        with opened_store(store, "write") as opened:
            findings += [*of_store(opened)]
    except FlowkdError as error:
        findings.append(Finding("store", "stops", str(error), "correct --store or FLOWKD_STORE"))
    if as_json:
        say([asdict(each) for each in findings], True)
    else:
        for each in findings:
            remedy = f": {each.remedy}" if each.remedy else ""
            print(visible(f"{each.state:<6} {each.what}: {each.found}{remedy}"))
    if any(each.state == "stops" for each in findings):
        raise typer.Exit(1)


def python(version: tuple[int, ...]) -> Finding:
    """Returns whether this Python is new enough."""
    found = f"{'.'.join(map(str, version))}, {sys.executable}"
    if version[:2] <= NEWEST_OLD_PYTHON:
        return Finding("Python", "stops", found, "flowkd needs 3.11 or newer")
    return Finding("Python", "ok", found)


def torch() -> Iterator[Finding]:
    """Yields what there is of torch, its threads and its device."""
    try:
        import torch
    except ImportError as error:
        yield Finding("torch", "stops", str(error), "pip install torch")
        return
    threads, cpus = torch.get_num_threads(), _cpus()
    found = f"{torch.__version__}, {threads} threads, {cpus} CPUs"
    if threads > cpus:
        yield Finding("torch", "note", found, f"more threads than CPUs: set OMP_NUM_THREADS={cpus}")
    else:
        yield Finding("torch", "ok", found)
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        yield Finding("device", "ok", f"{torch.cuda.device_count()} GPUs: {', '.join(names)}")
    else:
        yield Finding("device", "ok", "CPU; no GPU that torch can use")


def _cpus() -> int:
    """Returns how many CPUs this process may use; not every system can tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ray() -> Finding:
    """Returns whether Ray is there, which is not imported."""
    version = version_of("ray")
    if version is None:
        return Finding(
            "Ray", "note", "not installed: no queue, search, serving or second worker",
            "pip install 'flowkd[cluster]'",
        )  # fmt: skip
    return Finding("Ray", "ok", version)


def port(number: int) -> Finding:
    """Returns whether the port of a service is free on this machine."""
    what = f"port {number}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            remedy = "a service of flowkd's may be up (`flowkd status`); else serve on another port"
            return Finding(what, "note", f"taken: {error.strerror}", remedy)
    return Finding(what, "ok", "free for a service")


def optional_packages() -> Iterator[Finding]:
    """Yields which packages there are that only some formats and stores need."""
    for name, needed in OPTIONAL.items():
        version, remedy = version_of(name), f"pip install 'flowkd[{EXTRAS[name]}]'"
        if version is None:
            yield Finding(name, "note", f"not installed: no {needed}", remedy)
        else:
            yield Finding(name, "ok", version)
    s3fs, fsspec = version_of("s3fs"), version_of("fsspec")
    if s3fs is None:
        yield Finding("s3fs", "note", "not installed: no s3:// store", "pip install s3fs")
    elif s3fs != fsspec:
        remedy = f"pip install s3fs=={fsspec}"
        yield Finding("s3fs", "note", f"{s3fs}, beside fsspec {fsspec}", remedy)
    else:
        yield Finding("s3fs", "ok", s3fs)


def of_store(store: Store) -> Iterator[Finding]:
    """Yields whether a store can be written, is atomic, private, and has room."""

    def tried(what: str, look: Callable[[], Finding]) -> Finding:
        try:
            return look()
        except FlowkdError as error:
            return Finding(what, "stops", str(error), "correct --store or its rights")

    def writes() -> Finding:
        check_place(store)
        check(store)
        return Finding("store", "ok", f"{store} can be written")

    first = tried("store", writes)
    yield first
    if first.state != "ok":
        return
    yield tried("store, conditional writes", lambda: _atomic(store))
    if store.is_local:
        path = Path(store.path())
        yield _private(path)
        yield room(shutil.disk_usage(path).free, path)


def _atomic(store: Store) -> Finding:
    what = "store, conditional writes"
    if creates_are_atomic(store):
        return Finding(what, "ok", "atomic")
    remedy = "one writer at a time moves an alias or takes a run, under a lock; nothing to do"
    return Finding(what, "note", "not atomic", remedy)


def _private(path: Path) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        found = f"others may write to {path} (mode {mode:04o}), and so have jobs run as you"
        return Finding("store, private", "note", found, f"chmod 700 {path}")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        found = f"others may read {path} (mode {mode:04o})"
        return Finding("store, private", "note", found, f"chmod 700 {path}, unless they should")
    return Finding("store, private", "ok", f"mode {mode:04o}")


def room(free: int, path: Path) -> Finding:
    """Returns whether a disk has room for data sets and checkpoints."""
    found = f"{free / GIB:.1f} GiB free at {path}"
    if free < FEW_BYTES:
        state: State = "stops" if free < NO_BYTES else "note"
        return Finding("disk", state, found, "make room: flowkd runs prune")
    return Finding("disk", "ok", found)


def version_of(package: str) -> str | None:
    """Returns the version of a package that is installed; None where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
