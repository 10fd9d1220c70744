"""Work under a lease, in a process that waits before its last step: `python -m ... KIND URI`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from cluster.exits import exits
from cluster.storage import StorageConfig
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.store import lease, lease_keeper
from flowkd.store.lease import Token
from flowkd.store.store import Store
from tests.support.searches import searching
from tuning import search as searches
from tuning.records import TrialEnd, TrialStart

PAUSE = 1.0  # seconds in which the process is stopped
REACHED = "about to finish"


def publish(store: Store) -> None:
    publish_run(PublishConfig(model="m", source="runs/teacher", force=True), store)


def compare(store: Store) -> None:
    evaluate(evaluation("compared"), store)


def evaluation(name: str) -> EvaluationConfig:
    values: dict[str, Any] = {
        "name": name, "flows": {"one": "runs/teacher"}, "dataset": "walks", "seconds": 0.001,
        "quality": None, "rows": 8,
    }  # fmt: skip
    return EvaluationConfig.model_validate(values)


def search(store: Store, name: str = "searched") -> None:
    """Searches with one trial that nobody trains."""
    searches.search(searching(name, trials=1), StorageConfig(uri=store.uri), resume=True)


def one_trial(candidates: Any, records: Any, *_: Any) -> None:
    records.begin(TrialStart(0, {}, {"by": records.number}, 1))
    records.end(0, TrialEnd("finished", [(8, 2.0)], time=0.0))


WORK: dict[str, Callable[[Store], None]] = {
    "publication": publish,
    "evaluation": compare,
    "search": search,
}


def without_trials(patch: Callable[[Any, str, Any], None]) -> None:
    """Leaves out what a search asks of Ray, and its report."""
    patch(searches, "connect", lambda: None)
    patch(searches, "baselines", lambda *_: [])
    patch(searches, "first_points", lambda *_: [])
    patch(searches, "run_trials", one_trial)
    patch(searches, "write_report", lambda *_: None)


def stopped_worker(kind: str, store: Store) -> subprocess.Popen[str]:
    """Returns a process that is stopped before it finishes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.late_workers", kind, store.uri],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(REACHED):
            process.send_signal(signal.SIGSTOP)
            return process
    raise AssertionError(process.communicate())


def main() -> None:
    kind, uri = sys.argv[1:]
    lease.LEASE_SECONDS, lease_keeper.RENEW_SECONDS = 0.3, 0.1
    finish = Token.finish

    def late(token: Token, *result: Any, **facts: Any) -> str:
        print(REACHED, flush=True)
        time.sleep(PAUSE)
        return finish(token, *result, **facts)

    Token.finish = late  # type: ignore[method-assign]
    without_trials(setattr)
    with exits():
        WORK[kind](Store(uri))


if __name__ == "__main__":
    main()
