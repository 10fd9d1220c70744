"""Which tests are slow, which run in one process, and in what order: hooks of pytest and xdist."""

from __future__ import annotations

import random
import re
from collections.abc import Generator, Iterable
from functools import cache
from typing import Any

import pytest

from tests.support import ROOT

# What a test asks for, itself or through another fixture, tells what it needs.
CLUSTER = frozenset({"ray_cluster"})
CLUSTER_PARAMETERS = frozenset({"ray_client"})
SERVER = frozenset({"s3_server", "moto_server", "s3_store"})
SERVER_PARAMETERS = frozenset({"s3", "swift", "moto", "s3_store", "swift_store", "moto_store"})

# What a file says, or the conftest.py beside it, tells which other files it shares processes with.
SHARES_CLUSTER = re.compile(r"\bray_(cluster|driver)\b")
STARTS_CLUSTER = re.compile(r"\bpytest\.mark\.cluster\b")
USES_SERVER = re.compile(r"\b(s3|swift|moto)(_store|_server|\")|\bproxied_store\b")
FIRST = ("cluster-of-tuning", "cluster-of-cluster", "own-clusters", "servers", "cluster-of-jobs")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shuffle", metavar="SEED", help="run files, and tests of each, in any order")


@pytest.hookimpl(wrapper=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Marks tests by what they need; in processes of xdist, what takes longest begins first."""
    for item in items:
        if CLUSTER & _fixtures(item) or CLUSTER_PARAMETERS & _parameters(item):
            item.add_marker(pytest.mark.cluster)
        elif SERVER & _fixtures(item) or SERVER_PARAMETERS & _parameters(item):
            item.add_marker(pytest.mark.server)
    if seed := config.getoption("shuffle"):
        items[:] = shuffled(items, seed)
    elif hasattr(config, "workerinput"):
        items.sort(key=_rank)
    yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Returns what gives whole groups of files to the processes."""
    from xdist.scheduler import LoadScopeScheduling

    class InGroups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(_file(nodeid))

        def remove_node(self, node: Any) -> str | None:
            """Gives away what a process left when it ended, but for the test that ended it.

            xdist would run that test again in the next process, and again when this one ends.
            """
            for files in self.assigned_work[node].values():
                for nodeid, done in files.items():
                    if not done:
                        files[nodeid] = True
                        super().remove_node(node)
                        return nodeid
            return super().remove_node(node)

    return InGroups(config, log)


@cache
def group(file: str) -> str:
    """Returns the name of the files whose tests run one after the other in one process.

    So a process has one cluster at most, which the files of a folder share, and what the tests of
    a file share is made once.
    """
    path = ROOT / file
    beside = path.with_name("conftest.py")
    texts = [path] if beside.parent == ROOT / "tests" else [path, beside]
    text = "\n".join(each.read_text(encoding="utf-8") for each in texts if each.exists())
    if not file.startswith("tests/"):
        return file
    if SHARES_CLUSTER.search(text):
        return f"cluster-of-{file.split('/')[1]}"
    if STARTS_CLUSTER.search(text):
        return "own-clusters"
    return "servers" if USES_SERVER.search(text) else file


def shuffled(items: Iterable[pytest.Item], seed: str) -> list[pytest.Item]:
    """Returns files in another order, and the tests of each: fixtures of a file start once."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(_file(item.nodeid), []).append(item)
    order, draw = list(files.values()), random.Random(seed)
    draw.shuffle(order)
    for each in order:
        draw.shuffle(each)
    return [item for each in order for item in each]


def _file(nodeid: str) -> str:
    return nodeid.split("::")[0]


def _rank(item: pytest.Item) -> int:
    name = group(_file(item.nodeid))
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _fixtures(item: pytest.Item) -> frozenset[str]:
    return frozenset(getattr(item, "fixturenames", ()))


def _parameters(item: pytest.Item) -> frozenset[str]:
    """Returns the parameters that are strings: some tests choose a fixture by its name."""
    call = getattr(item, "callspec", None)
    values = call.params.values() if call else ()
    return frozenset(value for value in values if isinstance(value, str))
