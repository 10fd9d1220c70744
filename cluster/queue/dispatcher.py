"""The dispatcher: reads what is asked, watches what runs, starts what fits."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable

from cluster.queue.admission import Room, Waiting, admit, fits_ever
from cluster.queue.config import QueueConfig
from cluster.queue.events import ACTIVE, ENDED, Event, JobState, State
from cluster.queue.job import JobSpec
from cluster.queue.ray_jobs import RayJobs
from cluster.queue.records import Heartbeat, Outcome, Records, Request
from cluster.queue.table import make_table

MOST_LOSSES = 20


class Job:
    """A job as the dispatcher knows it: its spec, its state, what it has heard of it."""

    def __init__(self, spec: JobSpec, submitted: float, state: JobState) -> None:
        self.spec = spec
        self.submitted = submitted
        self.state = state
        self.heartbeat: Heartbeat | None = None
        self.heard = time.monotonic()  # when the heartbeat last changed, by this clock


class Dispatcher:
    """Runs the queue: `tick` again and again.

    Two at once do no harm: an event's number, and an attempt's name in Ray, are taken once.

    Args:
        records: Of the queue.
        jobs: The cluster.
        config: Of the queue.
        tell: Is called with each transition, for webhooks.
    """

    def __init__(
        self,
        records: Records,
        jobs: RayJobs,
        config: QueueConfig,
        tell: Callable[[JobSpec, Event], None] = lambda spec, event: None,
    ) -> None:
        self.records = records
        self.cluster = jobs
        self.config = config
        self.tell = tell
        self.name = uuid.uuid4().hex[:8]
        self.known: dict[str, Job] = {}

    def tick(self) -> None:
        """Looks at everything once."""
        self._discover()
        for request in self.records.requests():
            self._answer(request)
        for job in self._in(*ACTIVE):
            self._watch(job)
        for job in self._in("queued"):
            self._give_up(job)
        self._start_what_fits()
        self.records.write_table(make_table(self.name, self.known.values()))

    def _in(self, *states: State) -> list[Job]:
        return [job for job in self.known.values() if job.state.state in states]

    def _discover(self) -> None:
        """Takes in jobs that were submitted since; those of a lost dispatcher with their events."""
        new = []
        for name in self.records.jobs():
            if name not in self.known and self.records.exists(name):
                accepted = self.records.spec(name)
                new.append(Job(accepted.spec, accepted.submitted, self.records.state(name)))
        for job in sorted(new, key=lambda job: (job.submitted, job.spec.id)):
            self.known[job.spec.id] = job
        # Their clocks may differ, so that the order is by who is seen first.
        last = max((job.state.order for job in self.known.values()), default=0)
        for job in sorted(new, key=lambda job: (job.submitted, job.spec.id)):
            if job.state.state is None:
                last += 1
                self._move(job, "queued", order=last)

    def _move(self, job: Job, state: State, **more: object) -> bool:
        """Writes the next event of a job; False, and its state anew, if another dispatcher did."""
        values = {"attempt": job.state.attempt, **more}
        event = Event.model_validate(
            {"number": job.state.events + 1, "state": state, "time": time.time(), **values}
        )
        if not self.records.append(job.spec.id, event):
            job.state = self.records.state(job.spec.id)
            return False
        job.state = job.state.after(event)
        self.tell(job.spec, event)
        return True

    def _answer(self, request: Request) -> None:
        """Does what a user asks."""
        job = self.known.get(request.job)
        if job is None:
            return
        state, by = job.state.state, f"by {request.by}" if request.by else ""
        if request.what == "retry":
            if state in ENDED:
                self._move(job, "queued", reason=f"to be tried again {by}".rstrip())
            self.records.answered(request)
        elif state in ENDED:
            self.records.answered(request)
        elif state == "queued":
            if self._move(job, "cancelled", reason=f"cancelled {by}".rstrip()):
                self.records.answered(request)
        elif state != "cancelling":
            # The request stays until the job has ended: the attempt itself looks for it, too.
            self._move(job, "cancelling", reason=f"cancelled {by}".rstrip())

    def _watch(self, job: Job) -> None:
        """Sees how an attempt is."""
        name, attempt = job.spec.id, job.state.attempt
        outcome = self.records.outcome(name, attempt)
        if outcome is not None:
            self._finish(job, outcome)
            return
        beat = self.records.heartbeat(name, attempt)
        if beat != job.heartbeat:
            job.heartbeat, job.heard = beat, time.monotonic()
            if job.state.state == "starting":
                self._move(job, "running")
        known = self.cluster.look(name, attempt)
        if job.state.state == "cancelling" and known == "alive":
            self.cluster.stop(name, attempt)
        begun = beat is not None or self.records.has_begun(name, attempt)
        silent = time.monotonic() - job.heard > self._patience
        if known == "unknown" and not begun:
            if job.state.state == "cancelling":
                self._lose(job)
            else:  # a dispatcher was lost before it could, or Ray has forgotten
                self.cluster.submit(name, attempt)
        elif known == "exited" or (known == "ended" and not begun) or (known != "alive" and silent):
            self._lose(job)

    @property
    def _patience(self) -> float:
        """Seconds after which an attempt that is not heard of has stopped itself."""
        return self.config.silence + self.config.grace + self.config.margin

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """Draws the conclusion from how an attempt ended."""
        if self.cluster.look(job.spec.id, job.state.attempt) == "alive":
            return  # in a moment
        about = {"exit_code": outcome.exit_code, "reason": outcome.reason}
        if outcome.exit_code == 0:
            self._move(job, "succeeded", **about)
        elif job.state.state == "cancelling":
            self._move(job, "cancelled", exit_code=outcome.exit_code, reason=job.state.reason)
        elif outcome.reason == "stopped":  # by somebody else than this queue
            self._lose(job)
        else:
            self._fail(job, outcome)
        self._clear(job)

    def _fail(self, job: Job, outcome: Outcome) -> None:
        retries, code = job.spec.retries, outcome.exit_code
        reason = outcome.reason or f"exit code {code}"
        again = code in retries.always or (
            code not in retries.never and job.state.failures < retries.times
        )
        if not again:
            self._move(job, "failed", exit_code=code, reason=reason)
            return
        pause = retries.pause * 2**job.state.failures
        self._move(
            job, "queued", exit_code=code, not_before=time.time() + pause,
            reason=f"attempt {job.state.attempt}: {reason}; to be tried again in {pause:g} s",
        )  # fmt: skip

    def _lose(self, job: Job) -> None:
        if job.state.state == "cancelling":
            self._move(job, "cancelled", reason=job.state.reason, lost=True)
        elif job.state.losses + 1 >= MOST_LOSSES:
            reason = f"the cluster lost {MOST_LOSSES} attempts in a row; see their logs"
            self._move(job, "failed", reason=reason, lost=True)
        else:
            reason = f"the cluster lost attempt {job.state.attempt}; to be tried again"
            self._move(job, "queued", reason=reason, lost=True)
        self._clear(job)

    def _clear(self, job: Job) -> None:
        job.heartbeat, job.heard = None, time.monotonic()

    def _give_up(self, job: Job) -> None:
        """Ends a job that waits for what cannot come, or for too long."""
        for name in job.spec.depends_on:
            before = self.known.get(name)
            if before is not None and before.state.state in ("failed", "cancelled"):
                reason = f"job {name}, on which it depends, {before.state.state}"
                self._move(job, "failed", reason=reason)
                return
        limit = job.spec.limits.queued
        if limit is not None and time.time() - job.state.queued_at > limit:
            self._move(job, "failed", reason=f"waited for longer than {limit:g} s")

    def _start_what_fits(self) -> None:
        """Starts the jobs whose turn it is."""
        active = self._in(*ACTIVE)
        totals = Room(self.cluster.nodes())
        left = self.cluster.left()
        for job in active:
            totals.take(job.spec.resources)
            if time.time() - (job.state.started_at or time.time()) < self.config.settling:
                left.take(job.spec.resources)
        ready = [
            Waiting(j.spec.id, j.spec.owner, j.spec.priority, j.state.order, j.spec.resources)
            for j in self._in("queued")
            if time.time() >= j.state.not_before and self._may_start(j)
        ]
        running = Counter(job.spec.owner for job in active)
        for waiting in admit(ready, running, (totals, left), self.config.limits):
            job = self.known[waiting.job]
            if self._move(job, "starting", attempt=job.state.attempt + 1):
                job.heartbeat, job.heard = None, time.monotonic()
                self.cluster.submit(job.spec.id, job.state.attempt)

    def _may_start(self, job: Job) -> bool:
        before = (self.known.get(name) for name in job.spec.depends_on)
        return all(each is not None and each.state.state == "succeeded" for each in before)

    def fits(self, spec: JobSpec) -> bool:
        """Tells whether a job would fit on the cluster as it is, were it empty."""
        return fits_ever(spec.resources, self.cluster.nodes())
