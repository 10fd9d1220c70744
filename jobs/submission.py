"""A config and what else a user says -> a job for the queue."""

from __future__ import annotations

import time
import uuid
from typing import Any

from pydantic import BaseModel

from cluster.queue.spec import JobSpec, Retries, Timeouts
from flowkd.config import Config, parse_config
from jobs.kinds import bounded, name_of, resources_of
from jobs.owner import this_user


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


def make_spec(
    kind: str, config: BaseModel, options: Options, pipeline: str | None = None
) -> JobSpec:
    """Returns the job of a kind and a config; raises ConfigError for options that are none."""
    config = bounded(config)
    found = {
        "pipeline": pipeline,
        "config": config.model_dump(mode="json"),
        "resources": resources_of(config).model_dump(),
    }
    return _spec(kind, name_of(config, kind), options, found)


def make_own_spec(kind: str, values: dict[str, Any], options: Options) -> JobSpec:
    """Returns the job of a kind of the cluster's own; raises ConfigError for options that are none.

    Args:
        kind: One of those that `commands` of the dispatcher's config names.
        values: What its config file is to hold.
        options: What a user says of it besides.
    """
    return _spec(kind, kind, options, {"config": values})


def _spec(kind: str, name: str, options: Options, found: dict[str, Any]) -> JobSpec:
    values = {
        **options.model_dump(exclude={"id", "owner"}),
        **found,
        "id": options.id or _new_id(name),
        "kind": kind,
        "owner": options.owner or this_user(),
    }
    return parse_config(JobSpec, values, source=f"job of kind {kind}")


def _new_id(name: str) -> str:
    return f"{name[:50]}-{time.strftime('%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
