"""A config and what else a user says -> a job for the queue."""

from __future__ import annotations

import getpass
import os
import time
import uuid
from typing import Any

from pydantic import BaseModel

from cluster.queue.spec import JobSpec, Retries, Timeouts
from flowkd.config import Config, parse_config
from jobs.kinds import bounded, find_kind, name_of, resources_of


class Options(Config):
    """What a user says of a job besides its config.

    Attributes:
        id: Its name; by default that of what it makes, and the time.
        priority: Higher goes first.
        owner: Who submits it; by default FLOWKD_OWNER, or the user of this machine.
        depends_on: Jobs that must succeed before.
        timeouts: Seconds that it may wait and run.
        retries: When it is tried again.
        webhook: URL that is told of each transition.
        preemptible: Whether it may be stopped to make room, and be tried again.
    """

    id: str | None = None
    priority: int = 0
    owner: str | None = None
    depends_on: tuple[str, ...] = ()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    webhook: str | None = None
    preemptible: bool = False


def make_spec(kind: str, config: BaseModel, options: Options) -> JobSpec:
    """Returns the job of a kind and a config; raises ConfigError for options that are none."""
    config = bounded(config)
    values: dict[str, Any] = options.model_dump(exclude={"id", "owner"})
    return parse_config(
        JobSpec,
        {
            **values,
            "id": options.id or _new_id(name_of(config, kind)),
            "kind": kind,
            "command": command_of(kind),
            "config": config.model_dump(mode="json"),
            "resources": resources_of(config).model_dump(),
            "owner": options.owner or this_user(),
        },
        source=f"job of kind {kind}",
    )


def this_user() -> str:
    """Returns FLOWKD_OWNER, or the user of this machine."""
    return os.environ.get("FLOWKD_OWNER") or getpass.getuser()


def command_of(kind: str) -> tuple[str, ...]:
    """Returns what runs a kind of job."""
    known = find_kind(kind)
    return "python", "-m", known.module, "--config", "{config}", "--store", "{store}", *known.again


def _new_id(name: str) -> str:
    return f"{name[:50]}-{time.strftime('%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
