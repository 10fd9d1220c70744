"""The faults of records: what is in the store is cut, changed, foreign, oddly named or newer."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from benchmarks.chaos import jobs
from benchmarks.chaos.rounds import Round, frozen, kill
from benchmarks.chaos.site import wait_for
from cluster.queue.events import ENDED
from cluster.queue.records import INBOX, QUEUE, event_name
from flowkd.errors import FlowkdError
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.store.store import Store

FOREIGN = b'{"format": "another program", "entries": [1, 2]}'
NOTICED_SECONDS = 15  # within which the dispatcher looks again at what it has set aside
Damage = Callable[[bytes, random.Random], bytes]


def cut_off(data: bytes, choice: random.Random) -> bytes:
    """Returns the beginning of some data."""
    return data[: choice.randrange(len(data))]


def flip(data: bytes, choice: random.Random) -> bytes:
    """Returns some data with one bit turned."""
    changed = bytearray(data)
    changed[choice.randrange(len(data))] ^= 1 << choice.randrange(8)
    return bytes(changed)


def foreign(data: bytes, choice: random.Random) -> bytes:
    """Returns JSON of another program."""
    return FOREIGN


DAMAGES: tuple[Damage, ...] = (cut_off, flip, foreign)


def outcome(this: Round) -> None:
    """Damages the outcomes of three jobs before the dispatcher reads them."""
    victims = [this.quick(3) for _ in DAMAGES]
    this.stream()
    for victim in victims:
        this.begun(victim)
    paths = [_attempt(this, victim, "outcome.json") for victim in victims]
    with frozen([psutil.Process(this.site.dispatch(this.store))]):
        store = this.records.store
        wait_for(lambda: all(store.exists(*path) for path in paths), 60)
        _damage_each(this, paths)
    _repair(this, victims)


def heartbeat(this: Round) -> None:
    """Damages the heartbeats of three jobs that run."""
    victims = [this.quick(5) for _ in DAMAGES]
    this.stream()
    for victim in victims:
        this.begun(victim)
    paths = [_attempt(this, victim, "heartbeat.json") for victim in victims]
    wait_for(lambda: all(this.records.store.exists(*path) for path in paths), 60)
    _damage_each(this, paths)
    _repair(this, victims)


def event(this: Round) -> None:
    """Damages an event of three jobs, and kills the dispatcher, which reads them anew."""
    victims = [this.quick(5) for _ in DAMAGES]
    for victim in victims:
        this.begun(victim)
    wait_for(lambda: all(state == "running" for state in this.states().values()), 60)
    this.stream()
    pid = this.site.dispatch(this.store)
    numbers = [this.random.randint(1, len(this.records.events(each))) for each in victims]
    paths = [
        (QUEUE, victim, "events", event_name(number))
        for victim, number in zip(victims, numbers, strict=True)
    ]
    _damage_each(this, paths)
    kill(pid)
    _repair(this, victims)


def inbox(this: Round) -> None:
    """Puts into the inbox what is no request, beside one that is."""
    running = this.quick(4)
    held = this.quick(0.2, depends_on=[running], right=frozenset({"cancelled"}))
    request = json.dumps({"job": running, "what": "cancel", "time": 0, "nonce": "0"}).encode()
    found = {
        "cut.json": cut_off(request, this.random),
        "foreign.json": FOREIGN,
        "no-json": b"\x00\xff" * 50,
        "star*.json": request[:-1],
        "folder/inner.json": FOREIGN,
        "spec.json": json.dumps({"job": "../spec", "what": "repair", "time": 0}).encode(),
    }
    for name, data in found.items():
        _write_raw(this, f"{INBOX}/{name}", data)
    this.records.ask(held, "cancel")
    this.stream()
    this.site.flowkd("queue", "--once", store=this.store)


def names(this: Round) -> None:
    """Puts odd folders and files among the jobs."""
    places = ["odd*[name/spec.json", "with space/spec.json", "file", "no-spec/other", "..x/spec"]
    for place in places:
        _write_raw(this, f"{QUEUE}/{place}", FOREIGN)
    this.stream(3)
    this.site.flowkd("queue", "--once", store=this.store)
    wait_for(lambda: all(state in ENDED for state in this.states().values()), 60)
    for place in places:
        _remove_raw(this, f"{QUEUE}/{place.split('/')[0]}")


def newer(this: Round) -> None:
    """Adds keys that a newer version may have, and kills the dispatcher, which reads them."""
    victims = [this.quick(5) for _ in range(2)]
    for victim in victims:
        this.begun(victim)
    store = this.records.store
    for victim in victims:
        paths = [
            (QUEUE, victim, "spec.json"),
            _attempt(this, victim, "heartbeat.json"),
            *((QUEUE, victim, "events", name) for name in store.list(QUEUE, victim, "events")),
        ]
        wait_for(partial(store.exists, *paths[1]), 60)
        for path in paths:
            values = json.loads(store.read(*path))
            store.write(json.dumps({**values, "newer": {"key": 1}}).encode(), *path)
    this.stream()
    kill(this.site.dispatch(this.store))


def checkpoint(this: Round) -> None:
    """Damages the last checkpoint of a training, and kills its driver."""
    run = this.train()
    this.stream(1)
    pid = this.begun(run)
    this.in_mid_run(run)
    store = this.records.store
    with frozen([this.worker()]):
        time.sleep(1)  # what is on its way to the store arrives
        path = (this.checkpoints(run)[-1], "state.pt")
        damage = this.random.choice(DAMAGES)
        store.write(damage(store.read(*path), this.random), *path)
        kill(pid)
        wait_for(lambda: not psutil.pid_exists(pid), 20)


def manifest(this: Round) -> None:
    """Damages the manifest of a model, and looks at all models."""
    _models(this, lambda store, model: _found(store, f"models/{model}", "manifest.json"))


def alias(this: Round) -> None:
    """Damages the alias of a model, and looks at all models."""
    _models(this, lambda store, model: _found(store, f"models/{model}/aliases", ".json"))


def _models(this: Round, path_of: Callable[[Store, str], str]) -> None:
    store, models = this.records.store, [this.name("model") for _ in range(4)]
    for model in models:
        publish_run(PublishConfig(model=model, source=f"runs/{jobs.CALM}", force=True), store)
    for model, damage in zip(models, DAMAGES, strict=False):
        path = path_of(store, model)
        store.write(damage(store.read(path), this.random), path)
    this.submit(jobs.publish(this.name("publish")))
    this.stream(1)
    for command in ("list", "verify"):
        said = this.site.flowkd("models", command, store=this.store)
        if models[-1] not in said:
            last = said.strip().splitlines()[-1] if said.strip() else "nothing"
            this.faults[models[-1]] = f"not in `models {command}`: {last}"
    for model in models:
        with suppress(FlowkdError):
            store.remove("models", model)


def _found(store: Store, folder: str, ending: str) -> str:
    """Returns the path of an object below a folder, the last one whose name ends so."""
    root = store.path()
    paths = [path[len(root) + 1 :] for path in store.fs.find(store.path(folder))]
    return sorted(path for path in paths if path.endswith(ending))[-1]


def _attempt(this: Round, job: str, name: str) -> tuple[str, ...]:
    return QUEUE, job, "attempts", str(this.records.state(job).attempt), name


def _damage_each(this: Round, paths: Sequence[tuple[str, ...]]) -> None:
    store = this.records.store
    for damage, path in zip(DAMAGES, paths, strict=True):
        store.write(damage(store.read(*path), this.random), *path)


def _repair(this: Round, victims: Sequence[str]) -> None:
    """Asks for the repair of those that are set aside, once they are."""

    def aside() -> set[str]:
        table = this.records.table()
        return {row.job for row in table.rows if row.state == "damaged"} if table else set()

    seen: set[str] = set()
    deadline = time.monotonic() + NOTICED_SECONDS
    while time.monotonic() < deadline:
        seen |= aside() & set(victims)
        if all(each in seen or this.states()[each] in ENDED for each in victims):
            break
        time.sleep(0.3)
    this.site.flowkd("queue", "--once", store=this.store)
    for victim in victims:
        if victim in aside() or this.states()[victim] == "damaged":
            this.site.flowkd("queue", "repair", victim, store=this.store)


def _write_raw(this: Round, path: str, data: bytes) -> None:
    """Writes an object whose name the store would refuse."""
    store = this.records.store
    place = f"{store.path()}/{path}"
    if store.is_local:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_bytes(data)
    else:
        store.fs.pipe_file(place, data)


def _remove_raw(this: Round, path: str) -> None:
    store = this.records.store
    place = f"{store.path()}/{path}"
    for each in store.fs.find(place) or [place]:
        with suppress(OSError):
            store.fs.rm_file(each)
    if store.is_local and Path(place).is_dir():
        Path(place).rmdir()
