"""The faults of processes, stores and people: each submits its jobs, and injects itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil

from benchmarks.chaos import damages, jobs
from benchmarks.chaos.rounds import DONE, ENDS, FROZEN_SECONDS, Round, freeze, kill
from benchmarks.chaos.site import STORES, wait_for
from cluster.queue.service import name_of

OUTAGE_SECONDS = 30
SHORT_SECONDS = 15


@dataclass(frozen=True)
class Fault:
    """A fault of the plan.

    Attributes:
        inject: Submits the jobs of a round and brings it about.
        about: What is done, for the table.
        stores: Where it can be.
    """

    inject: Callable[[Round], None]
    about: str
    stores: tuple[str, ...] = STORES


def kill_dispatcher(this: Round) -> None:
    """Kills the dispatcher while one job runs and others wait."""
    this.begun(this.quick(6))
    this.stream(3)
    kill(this.site.dispatch(this.store))


def kill_attempt(this: Round) -> None:
    """Kills the process that runs an attempt."""
    job = this.quick(20)
    this.stream()
    kill(this.runner(job).pid)


def kill_driver(this: Round) -> None:
    """Kills the driver of a training in mid-run."""
    run = this.train()
    this.stream()
    pid = this.begun(run)
    this.in_mid_run(run)
    kill(pid)


def kill_worker(this: Round) -> None:
    """Kills the worker of a training that another job waits for."""
    first, second = jobs.pipeline(this.name("pipeline"))
    this.submit(first, second)
    this.in_mid_run(first.id)
    kill(this.worker().pid)


def kill_head(this: Round) -> None:
    """Kills all processes of the head, and starts a new one."""
    run = this.train()
    this.stream(4)
    this.in_mid_run(run)
    this.site.kill_head()
    this.site.start_head()


def freeze_dispatcher(this: Round) -> None:
    """Freezes the dispatcher while jobs run, end and wait."""
    this.begun(this.quick(3))
    this.stream(3)
    freeze([psutil.Process(this.site.dispatch(this.store))])


def freeze_attempt(this: Round) -> None:
    """Freezes the process that runs an attempt; its command goes on."""
    job = this.quick(FROZEN_SECONDS + 15)
    this.stream()
    freeze([this.runner(job)])


def freeze_host(this: Round) -> None:
    """Freezes an attempt and all that it started, as a suspended machine does."""
    job = this.quick(FROZEN_SECONDS + 5)
    this.stream()
    runner = this.runner(job)
    freeze([runner, *runner.children(recursive=True)])


def freeze_driver(this: Round) -> None:
    """Freezes the driver of a training in mid-run."""
    run = this.train()
    this.stream()
    pid = this.begun(run)
    this.in_mid_run(run)
    freeze([psutil.Process(pid)])


def full(this: Round) -> None:
    """Fills the store while a training writes checkpoints and jobs end."""
    run = this.train()
    this.stream()
    this.in_mid_run(run)
    if this.store == "s3":
        this.site.proxy.fail_for(SHORT_SECONDS, "full", "PUT")
        _look_while(this, lambda: this.site.proxy.failing)
        return
    flag = this.site.ledger / "full"
    flag.touch()
    try:
        time.sleep(SHORT_SECONDS)
    finally:
        flag.unlink()


def away(this: Round) -> None:
    """Takes the store away while a training writes checkpoints and jobs end."""
    run = this.train()
    this.stream()
    this.in_mid_run(run)
    this.site.proxy.fail_for(OUTAGE_SECONDS, "unavailable")
    _look_while(this, lambda: this.site.proxy.failing)


def unmounted(this: Round) -> None:
    """Leaves an empty folder where the store was, as a network disk does that is not mounted."""
    this.begun(this.quick(4))
    this.stream()
    store = Path(this.records.store.path())
    kept, shadow = store.with_name("store-kept"), store.with_name(f"shadow-{uuid4().hex}")
    store.rename(kept)
    try:
        store.mkdir()
        time.sleep(5)
    finally:
        wait_for(lambda: _swap(store, shadow, kept), SHORT_SECONDS)


def _swap(store: Path, shadow: Path, kept: Path) -> bool:
    if store.exists():
        store.rename(shadow / uuid4().hex if shadow.exists() else shadow)
    try:
        kept.rename(store)
    except OSError:  # somebody has made the folder anew in the meantime
        shadow.mkdir(exist_ok=True)
        return False
    return True


def slow(this: Round) -> None:
    """Delays each request of the store by a second."""
    this.begun(this.quick(2))
    this.stream()
    this.site.proxy.fail_for(SHORT_SECONDS, "delay")
    this.stream()


def cut(this: Round) -> None:
    """Cuts each body that the store sends in half."""
    this.begun(this.quick(4))
    this.stream()
    this.site.proxy.fail_for(SHORT_SECONDS, "truncate", "GET")
    this.stream()


def disconnect(this: Round) -> None:
    """Resets each connection to the store."""
    this.begun(this.quick(4))
    this.stream()
    this.site.proxy.fail_for(SHORT_SECONDS, "reset")
    _look_while(this, lambda: this.site.proxy.failing)


def cancel_and_retry(this: Round) -> None:
    """Cancels jobs at random moments, and has half of them tried again."""
    names = [this.quick(this.random.uniform(0.1, 3), right=ENDS) for _ in range(8)]
    for name in names:
        time.sleep(this.random.uniform(0, 1))
        this.records.ask(name, "cancel", by="chaos")
        if this.random.random() < 0.5:
            time.sleep(this.random.uniform(0, 1))
            this.records.ask(name, "retry", by="chaos")
            this.expected[name] = DONE
    wait_for(lambda: not this.records.inbox()[0], 60)


def two_dispatchers(this: Round) -> None:
    """Runs a second dispatcher beside the first."""
    other = f"{name_of(this.records.store.uri)}-second"
    this.site.dispatch(this.store, other)
    for _ in range(4):
        this.stream(2)
    this.quick(0.2, kind="fails", right=frozenset({"failed"}))
    wait_for(lambda: all(this.states()[job] in right for job, right in this.expected.items()), 60)
    this.site.end_dispatcher(other)


def _look_while(this: Round, failing: Callable[[], bool]) -> None:
    """Asks for the queue, as a user does, while the store fails."""
    this.site.flowkd("queue", "--once", store=this.store)
    wait_for(lambda: not failing(), 120)


FAULTS = {
    "kill-dispatcher": Fault(kill_dispatcher, "SIGKILL to its actor; 1 job runs, 3 wait"),
    "kill-worker": Fault(kill_worker, "SIGKILL to a training's worker; an evaluation waits for it"),
    "freeze-dispatcher": Fault(freeze_dispatcher, "SIGSTOP, 20 s, SIGCONT; jobs end and wait"),
    "kill-attempt": Fault(kill_attempt, "SIGKILL to the entrypoint of the Ray job"),
    "store-full": Fault(full, "15 s: 507 to each PUT (S3), no room for new files (disk)"),
    "damage-outcome": Fault(damages.outcome, "3 jobs' outcomes: cut, one bit turned, foreign"),
    "freeze-attempt": Fault(freeze_attempt, "SIGSTOP to the attempt alone, 20 s, SIGCONT"),
    "cancel-retry": Fault(cancel_and_retry, "8 jobs, at random moments"),
    "kill-driver": Fault(kill_driver, "SIGKILL to a training's driver in mid-run"),
    "damage-event": Fault(damages.event, "3 jobs' events, and SIGKILL to the dispatcher"),
    "store-away": Fault(away, "503 to each request for 30 s", ("s3",)),
    "two-dispatchers": Fault(two_dispatchers, "a second one on the same store and cluster"),
    "freeze-host": Fault(freeze_host, "SIGSTOP to an attempt and all it started, 20 s, SIGCONT"),
    "damage-heartbeat": Fault(damages.heartbeat, "3 running jobs' heartbeats"),
    "damage-inbox": Fault(damages.inbox, "requests cut, foreign, oddly named; a folder"),
    "store-slow": Fault(slow, "each request takes a second longer, 15 s", ("s3",)),
    "damage-checkpoint": Fault(damages.checkpoint, "the last one of a training; driver killed"),
    "damage-names": Fault(damages.names, "odd folders and files among the jobs"),
    "store-cuts": Fault(cut, "each body that it sends is cut in half, 15 s", ("s3",)),
    "damage-manifest": Fault(damages.manifest, "a model's manifest; then `models list`, `verify`"),
    "newer-version": Fault(damages.newer, "keys of a newer version in spec, events, heartbeat"),
    "store-resets": Fault(disconnect, "each connection is reset, 15 s", ("s3",)),
    "damage-alias": Fault(damages.alias, "a model's alias; then `models list`, `verify`"),
    "kill-head": Fault(kill_head, "SIGKILL to all its processes, then a new head"),
    "store-unmounted": Fault(unmounted, "an empty folder in its place, 5 s", ("disk",)),
    "freeze-driver": Fault(freeze_driver, "SIGSTOP to a training's driver, 20 s, SIGCONT"),
}
