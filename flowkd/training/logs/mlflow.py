"""A run in training, as an MLflow server sees it: it follows the metrics that are in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flowkd.errors import FencedError, StoppedError
from flowkd.store.store import Store
from flowkd.tracking.background import Background
from flowkd.tracking.mlflow_run import MlflowRun, explain
from flowkd.training.config import TrainingConfig
from flowkd.training.logs.follow import LogFollower

NOTE = "mlflow.json"  # of a run: where it is followed


@contextmanager
def tracked(
    config: TrainingConfig, store: Store, tell: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Sends what a run's log says to the server that its config names, while it is trained.

    A resumed run goes on where the server has it. A server that is away delays nothing: what it
    lacks is sent when it answers again, and its last chance ends soon after the training.

    Args:
        config: Of the run.
        store: Where its metrics are.
        tell: Called at most once, with why nothing is sent.
    """
    if config.tracking.mlflow is None:
        yield
        return
    follower = _Follower(config, store)
    background = Background(follower.send, lambda error: tell(explain(error, config.tracking)))
    try:
        yield
        follower.status = "FINISHED"
    except (KeyboardInterrupt, StoppedError):
        follower.status = "KILLED"
        raise
    except FencedError:
        follower.status = None
        raise
    finally:
        background.end()


class _Follower:
    """Sends what is new of a run's metrics.

    Attributes:
        status: How the run ended, in MLflow's words; None where another process goes on with it.
    """

    def __init__(self, config: TrainingConfig, store: Store) -> None:
        self._config, self._store = config, store
        self._log = LogFollower(store, config.name)
        self._unsent: list[dict[str, Any]] = []
        self._run: MlflowRun | None = None
        self.status: str | None = "FAILED"

    def send(self, ending: bool) -> None:
        """Sends what is new, and the end if it is there."""
        self._unsent += self._log.new_records()
        run = self._run or self._opened()
        run.log_records(self._unsent)
        self._unsent.clear()
        if not ending or self.status is None:
            return
        if self.status == "FINISHED":
            run.tag(artifact=f"runs/{self._config.name}")
        run.end(self.status)

    def _opened(self) -> MlflowRun:
        """Returns the server's run: the one that an attempt before has made, or a new one."""
        name, tracking = self._config.name, self._config.tracking
        path = ("runs", name, NOTE)
        place = tracking.model_dump(mode="json")
        note = self._store.read_json(*path) if self._store.exists(*path) else {}
        if note.get("place") == place:
            run = MlflowRun(tracking, name, {}, note["run"])
        else:
            tags = {"flowkd.run": f"runs/{name}", "flowkd.store": str(self._store)}
            run = MlflowRun(tracking, name, tags)
            self._store.write_json({"place": place, "run": run.id}, *path)
        if not run.has_parameters:
            run.log_parameters(self._config.model_dump(mode="json", exclude={"tracking"}))
        self._run = run
        return run
