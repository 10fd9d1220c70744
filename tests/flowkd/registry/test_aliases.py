"""An alias moves once for each that moves it, on every kind of store, whatever fails meanwhile."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from s3fs import S3FileSystem
from typer.testing import CliRunner

from flowkd.errors import StoreError
from flowkd.registry.aliases import alias_history, alias_version, alias_versions, set_alias
from flowkd.store import locks
from flowkd.store.locks import creates_are_atomic
from flowkd.store.sealed import seal_json
from flowkd.store.store import Store
from jobs.cli.main import app
from tests.support.crashes import Crash, crash_at
from tests.support.servers.faults import FaultProxy
from tests.support.servers.moto import MotoServer

ATOMIC = ["local", "memory", "moto"]
VERSIONS = [f"v{n}" for n in range(8)]
FOLDER = "models/m/aliases/best"

pytestmark = pytest.mark.filterwarnings(
    "ignore:of several conditional writes", "ignore:removed models"
)


def furnish(store: Store) -> Store:
    for version in VERSIONS:
        store.write(b"{}", "models", "m", version, "manifest.json")
    return store


@pytest.fixture(params=[*ATOMIC, "swift"])
def store(request: pytest.FixtureRequest) -> Store:
    return furnish(request.getfixturevalue(f"{request.param}_store"))


def test_it_points_where_it_was_moved_last_and_its_moves_stay(store: Store) -> None:
    assert alias_version(store, "m", "best") is None
    assert [set_alias(store, "m", "best", version) for version in ("v0", "v3", "v0")] == [1, 2, 3]
    assert alias_version(store, "m", "best") == "v0"
    assert [move.version for move in alias_history(store, "m", "best")[0]] == ["v0", "v3", "v0"]
    assert len({move.nonce for move in alias_history(store, "m", "best")[0]}) == 3
    set_alias(store, "m", "small", "v1")
    assert alias_versions(store, "m") == {"best": "v0", "small": "v1"}


def test_with_an_expected_version_it_moves_from_there_alone(store: Store) -> None:
    with pytest.raises(StoreError, match="'best' of model 'm' to point at v0; got no such alias"):
        set_alias(store, "m", "best", "v1", expected="v0")
    assert alias_versions(store, "m") == {}
    set_alias(store, "m", "best", "v0")
    assert set_alias(store, "m", "best", "v1", expected="v0") == 2
    with pytest.raises(
        StoreError,
        match=r"'best' of model 'm' to point at v0; got v1 since .*not moved; see `flowkd",
    ):
        set_alias(store, "m", "best", "v2", expected="v0")
    assert alias_version(store, "m", "best") == "v1"


def test_every_one_of_many_threads_moves_it_once(store: Store) -> None:
    with ThreadPoolExecutor(len(VERSIONS)) as movers:
        numbers = list(movers.map(lambda each: set_alias(store, "m", "best", each), VERSIONS))
    assert sorted(numbers) == list(range(1, 9))
    moves, _ = alias_history(store, "m", "best")
    assert {move.number: move.version for move in moves} == dict(
        zip(numbers, VERSIONS, strict=True)
    )
    assert alias_version(store, "m", "best") == VERSIONS[numbers.index(8)]
    assert store.list(FOLDER, "locks") == []


def test_one_of_many_threads_moves_it_from_an_expected_version(store: Store) -> None:
    set_alias(store, "m", "best", "v0")

    def move(version: str) -> str:
        try:
            return f"moved as {set_alias(store, 'm', 'best', version, expected='v0')}"
        except StoreError as error:
            return str(error)

    others = VERSIONS[1:5]  # a lock is dear, on two cores
    with ThreadPoolExecutor(len(others)) as movers:
        outcomes = dict(zip(others, movers.map(move, others), strict=True))
    winner = alias_version(store, "m", "best")
    assert outcomes.pop(winner) == "moved as 2"
    assert all(f"to point at v0; got {winner} since" in outcome for outcome in outcomes.values())
    assert len(alias_history(store, "m", "best")[0]) == 2


@pytest.mark.parametrize("kind", ["local", "moto", "swift"])
def test_processes_lose_no_move_either(kind: str, request: pytest.FixtureRequest) -> None:
    store = furnish(request.getfixturevalue(f"{kind}_store"))
    code = """
import sys
from flowkd.registry.aliases import set_alias
from flowkd.store.sealed import seal_json
from flowkd.store.store import Store
print([set_alias(Store(sys.argv[1]), "m", "best", sys.argv[2]) for _ in range(4)])
"""
    moving = {
        version: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, store.uri, version], stdout=subprocess.PIPE
        )
        for version in ("v1", "v2")
    }
    told = {each: json.loads(run.communicate(timeout=100)[0]) for each, run in moving.items()}
    assert sorted(told["v1"] + told["v2"]) == list(range(1, 9))
    for move in alias_history(store, "m", "best")[0]:
        assert move.number in told[move.version]


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_leaves_it_where_it_was_or_is_to_be(
    store: Store, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_alias(store, "m", "best", "v0")
    monkeypatch.setattr(locks, "LOCK_SECONDS", -1)  # as if each crash were long ago
    moved = []
    for number in itertools.count(1):
        with monkeypatch.context() as patch:
            crash_at(patch, number, after=after)
            try:
                set_alias(store, "m", "best", "v1")
                break
            except Crash:
                pass
        moved.append(alias_version(store, "m", "best") == "v1")
        assert moved[-1] or alias_version(store, "m", "best") == "v0"
    assert len(moved) >= 3
    assert moved == sorted(moved)  # from some call on it has moved
    assert alias_version(store, "m", "best") == "v1"


def test_a_move_whose_answer_was_lost_is_made_once(
    moto_store: Store, moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    set_alias(furnish(moto_store), "m", "best", "v0")
    with FaultProxy(moto_server.endpoint) as proxy:
        config = {"retries": {"max_attempts": 0}}
        options = {"endpoint_url": proxy.endpoint, "config_kwargs": config}
        store = Store(moto_store.uri, options, retry_seconds=20)
        assert creates_are_atomic(store)
        proxy.fail("lost answer", only="PUT")
        assert set_alias(store, "m", "best", "v1", expected="v0") == 2
        assert "PUT lost answer" in proxy.requests
    assert [move.version for move in alias_history(moto_store, "m", "best")[0]] == ["v0", "v1"]


@pytest.mark.parametrize("alias", ["", "a/b", "..", "a b", "*"])
def test_a_name_of_another_form_is_refused(memory_store: Store, alias: str) -> None:
    with pytest.raises(StoreError, match="expected an alias of letters"):
        set_alias(furnish(memory_store), "m", alias, "v0")


def test_a_pointer_that_cannot_be_read_is_named_and_moved_over(memory_store: Store) -> None:
    set_alias(furnish(memory_store), "m", "best", "v0")
    for data in (b'{"version": 1}', seal_json({"version": 1})):
        memory_store.write(data, FOLDER, "00000002.json")
        with pytest.raises(StoreError, match=r"00000002\.json (?s:.*); move the alias again"):
            alias_version(memory_store, "m", "best")
    moves, damage = alias_history(memory_store, "m", "best")
    assert ([move.version for move in moves], len(damage)) == (["v0"], 1)
    assert set_alias(memory_store, "m", "best", "v1") == 3
    assert alias_version(memory_store, "m", "best") == "v1"


def call(store: Store, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "--store", store.uri])
    return result.exit_code, result.output


def test_the_command_moves_as_expected_and_tells_the_moves(local_store: Store) -> None:
    furnish(local_store)
    assert call(local_store, "models", "alias", "m", "best", "v0")[0] == 0
    moving = ["models", "alias", "m", "best", "v1", "--expect", "v0"]
    assert call(local_store, *moving) == (0, "models/m@best is v1\n")
    code, output = call(local_store, *moving)
    assert code == 1
    assert "to point at v0; got v1" in output
    code, output = call(local_store, "models", "alias", "m", "best", "--json")
    assert [move["version"] for move in json.loads(output)] == ["v0", "v1"]


@pytest.mark.parametrize(
    ("kind", "writes", "scheme"),
    [
        ("local", "atomic", "compare-and-swap"),
        ("moto", "atomic", "compare-and-swap"),
        ("swift", "not atomic", "one writer at a time, under a lock"),
    ],
)
def test_the_command_tells_the_scheme(
    kind: str, writes: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    code, output = call(store, "store", "check", "--json")
    assert code == 0
    assert json.loads(output) == {
        "store": store.uri,
        "conditional_writes": writes,
        "aliases": scheme,
        "leases": "created once" if writes == "atomic" else "created once, under a lock",
    }
    assert store.list() == []
