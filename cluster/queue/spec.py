"""The spec of a job: what to run, on which resources, after which jobs, with how many retries."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.names import JobId, KindName, PipelineName


class Resources(Config):
    """What a job's processes take of the cluster while it runs, its driver aside.

    Attributes:
        workers: Number of processes; default 1.
        cpus: CPU cores of each process; default 1.
        gpus: GPUs of each process; default 0.
        custom: Amounts of Ray's custom resources of each process, by name; default none.
    """

    workers: int = Field(1, ge=1)
    cpus: float = Field(1, ge=0)
    gpus: float = Field(0, ge=0)
    custom: dict[str, float] = Field(default_factory=dict)

    def of_each(self) -> dict[str, float]:
        """Returns what each process takes, by Ray's names.

        >>> Resources(workers=4, cpus=2, gpus=1).of_each()
        {'CPU': 2.0, 'GPU': 1.0}
        """
        found = {"CPU": self.cpus, "GPU": self.gpus, **self.custom}
        return {name: amount for name, amount in found.items() if amount}


class Timeouts(Config):
    """How long a job may take, in seconds; None for as long as it needs.

    Attributes:
        queued: Time in the queue from when it could have started; default None.
        running: Time that each attempt may run; default None.
    """

    queued: float | None = Field(None, gt=0)
    running: float | None = Field(None, gt=0)


class Retries(Config):
    """When another attempt follows one that failed by itself; after a loss one always does.

    Attributes:
        max_retries: How many more attempts there are at most; default 2.
        backoff: Seconds before the second attempt, twice as many before each further one;
            default 10.
        never_retry_exit_codes: Exit codes that end the job at once; default 2, a usage error.
        always_retry_exit_codes: Exit codes after which another attempt follows, whatever
            `max_retries` says; default 75, a temporary failure, and 77, of work that another
            process has taken over.
    """

    max_retries: int = Field(2, ge=0)
    backoff: float = Field(10.0, ge=0)
    never_retry_exit_codes: tuple[int, ...] = (2,)
    always_retry_exit_codes: tuple[int, ...] = (75, 77)

    @model_validator(mode="after")
    def _apart(self) -> Retries:
        both = set(self.never_retry_exit_codes) & set(self.always_retry_exit_codes)
        if both:
            raise ValueError(
                f"exit codes {sorted(both)} are in never_retry_exit_codes and in "
                f"always_retry_exit_codes: take them out of one"
            )
        return self


class JobSpec(Config):
    """A job as it was submitted; it never changes.

    Attributes:
        id: Its name; submitted again with the same content, it is the same job.
        kind: What it does, `distill` for one: the dispatcher's config names the program.
        config: The content of the config file; default empty.
        resources: What its processes take.
        priority: Jobs of a higher one start first; default 0.
        owner: Who submitted it; default nobody.
        pipeline: Name of the pipeline that it belongs to, with which its id begins; default none.
        depends_on: Ids of jobs that must have succeeded before it starts; default none.
        timeouts: How long it may wait and run; default for ever.
        retries: When another attempt follows one that failed.
        preemptible: Whether it may be stopped to make room for one of a higher priority, and be
            tried again; default false.
        webhook: URL that each transition is posted to; default None.
    """

    id: JobId
    kind: KindName
    config: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Resources()
    priority: int = 0
    owner: str = Field("", max_length=100)
    pipeline: PipelineName | None = None
    depends_on: tuple[JobId, ...] = ()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    preemptible: bool = False
    webhook: str | None = Field(None, pattern=r"^https?://")

    @model_validator(mode="after")
    def _depends_on_others(self) -> JobSpec:
        if self.id in self.depends_on:
            raise ValueError(f"job {self.id!r} depends on itself: take it out of depends_on")
        return self

    @model_validator(mode="after")
    def _is_of_its_pipeline(self) -> JobSpec:
        if self.pipeline and not self.id.startswith(f"{self.pipeline}."):
            raise ValueError(
                f"id: expected {self.pipeline}.STAGE for a job of pipeline {self.pipeline!r}; got "
                f"{self.id!r}"
            )
        return self
