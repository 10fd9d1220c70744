"""What a job is: what to run, on what, when, how often."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.names import JobId


class Resources(Config):
    """What a job takes of the cluster while it runs, its driver aside.

    Attributes:
        workers: How many processes.
        cpus: CPU cores of each.
        gpus: GPUs of each.
        custom: Ray's own resources, by name, of each.
    """

    workers: int = Field(1, ge=1)
    cpus: float = Field(1, ge=0)
    gpus: float = Field(0, ge=0)
    custom: dict[str, float] = Field(default_factory=dict)

    def of_each(self) -> dict[str, float]:
        """Returns what each process takes, by Ray's names."""
        found = {"CPU": self.cpus, "GPU": self.gpus, **self.custom}
        return {name: amount for name, amount in found.items() if amount}


class Limits(Config):
    """How long a job may take, in seconds; None for as long as it needs.

    Attributes:
        queued: Until it starts, since it could.
        running: Of each attempt.
    """

    queued: float | None = Field(None, gt=0)
    running: float | None = Field(None, gt=0)


class Retries(Config):
    """When an attempt that failed is made again; one that the cluster lost always is.

    Attributes:
        times: How often, at most.
        pause: Seconds before the first; each further pause is twice as long.
        never: Exit codes after which it is not.
        always: Exit codes after which it is, whatever `times` says.
    """

    times: int = Field(2, ge=0)
    pause: float = Field(10.0, ge=0)
    never: tuple[int, ...] = (2,)
    always: tuple[int, ...] = (75,)

    @model_validator(mode="after")
    def _apart(self) -> Retries:
        both = set(self.never) & set(self.always)
        if both:
            raise ValueError(f"exit codes {sorted(both)} are both in never and in always")
        return self


class JobSpec(Config):
    """A job as it was submitted; it never changes.

    Attributes:
        id: Its name; submitted again with the same content, it is the same job.
        kind: What it does, `distill` for one.
        command: What runs it; `{config}` and `{store}` stand for its config file and the store.
        config: What the config file holds.
        resources: What it takes.
        priority: Higher goes first.
        owner: Who submitted it.
        depends_on: Jobs that must have succeeded before.
        limits: How long it may take.
        retries: When it is tried again.
        webhook: URL that is told of each transition.
    """

    id: JobId
    kind: str
    command: tuple[str, ...] = Field(min_length=1)
    config: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Resources()
    priority: int = 0
    owner: str = Field("", max_length=100)
    depends_on: tuple[JobId, ...] = ()
    limits: Limits = Limits()
    retries: Retries = Retries()
    webhook: str | None = Field(None, pattern=r"^https?://")

    @model_validator(mode="after")
    def _depends_on_others(self) -> JobSpec:
        if self.id in self.depends_on:
            raise ValueError(f"job {self.id!r} depends on itself: take it out of depends_on")
        return self
