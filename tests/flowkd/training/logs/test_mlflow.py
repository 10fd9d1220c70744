"""An MLflow server has a run's parameters, metrics and result; one that is away harms nothing."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from cluster.storage import StorageConfig
from cluster.train.start import train_run
from flowkd.errors import ConfigError
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.tracked import track_comparison
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.tracking import background
from flowkd.training.config import TrainingConfig
from flowkd.training.logs.metrics import RunLog, read_log
from flowkd.training.logs.mlflow import tracked
from tests.support.servers.mlflow import MlflowServer
from tests.support.small_runs import furnish, training

HERE = {"scaling": {"run_on": "local"}, "log_every": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an MLflow server."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server.url


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with much to do takes long to import MLflow."""
    monkeypatch.setattr(background, "END_SECONDS", 120.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> StorageConfig:
    found = StorageConfig.from_uri(str(tmp_path_factory.mktemp("tracked") / "store"))
    furnish(found.store())
    return found


class Served:
    """What a server says of the runs of an experiment."""

    def __init__(self, server: str, experiment: str) -> None:
        self._url, self._experiment = f"{server}/api/2.0/mlflow", experiment

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = httpx.request(method, f"{self._url}/{path}", timeout=30, trust_env=False, **more)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def runs(self) -> list[dict[str, Any]]:
        name = {"experiment_name": self._experiment}
        experiment = self._ask("GET", "experiments/get-by-name", params=name)["experiment"]
        asked = {"experiment_ids": [experiment["experiment_id"]]}
        return self._ask("POST", "runs/search", json=asked)["runs"]

    def only(self) -> dict[str, Any]:
        [found] = self.runs()
        values: dict[str, Any] = {"status": found["info"]["status"], "id": found["info"]["run_id"]}
        for kind in ("params", "tags", "metrics"):
            values[kind] = {each["key"]: each["value"] for each in found["data"].get(kind, [])}
        return values

    def curve(self, run: str, key: str) -> list[tuple[int, float]]:
        asked = {"run_id": run, "metric_key": key}
        found = self._ask("GET", "metrics/get-history", params=asked)["metrics"]
        return [(int(each["step"]), each["value"]) for each in found]


def logged(store: Store, run: str, key: str) -> list[tuple[int, float]]:
    return [
        (line["step"], pytest.approx(line[key])) for line in read_log(store, run) if key in line
    ]


def sent_to(server: str, name: str, **options: Any) -> TrainingConfig:
    tracking = {"mlflow": server, "experiment": f"of {name}"}
    return training(name, **{**HERE, "tracking": tracking, **options})


def told_once(told: list[str], word: str) -> bool:
    return [word in each for each in told] == [True]


@pytest.mark.server
def test_a_run_is_there_with_parameters_curves_and_result(
    server: str, storage: StorageConfig
) -> None:
    told: list[str] = []
    train_run(sent_to(server, "sent"), storage, told.append)
    found = Served(server, "of sent").only()
    assert told == []
    assert found["status"] == "FINISHED"
    assert found["tags"]["flowkd.artifact"] == found["tags"]["flowkd.run"] == "runs/sent"
    assert found["tags"]["flowkd.store"] == str(storage.store())
    assert found["params"]["train.steps"] == "6"
    assert found["params"]["flow.kind"] == "coupling"
    for key in ("loss", "validation_bits_per_dim"):
        assert Served(server, "of sent").curve(found["id"], key) == logged(
            storage.store(), "sent", key
        )


@pytest.mark.server
def test_a_run_that_goes_on_is_one_with_one_point_a_step(server: str, local_store: Store) -> None:
    config = sent_to(server, "resumed")
    points = [{"step": step, "time": 1e9 + step, "loss": 1 / step} for step in range(1, 41)]
    with suppress(KeyboardInterrupt), tracked(config, local_store):
        with RunLog(local_store, "resumed", token=1) as log:
            for line in points[:20]:
                log.append(line)
        raise KeyboardInterrupt
    found = Served(server, "of resumed").only()
    assert found["status"] == "KILLED"
    with tracked(config, local_store), RunLog(local_store, "resumed", 15, token=2) as log:
        for line in points[15:]:
            log.append({**line, "time": line["time"] + 1000})
    again = Served(server, "of resumed").only()
    assert (again["status"], again["id"]) == ("FINISHED", found["id"])
    curve = Served(server, "of resumed").curve(found["id"], "loss")
    assert curve == logged(local_store, "resumed", "loss")


@pytest.mark.server
def test_a_comparison_is_there_with_the_figures_of_each_flow(
    server: str, storage: StorageConfig
) -> None:
    config = EvaluationConfig(
        name="c", flows={"teacher": "runs/teacher"}, dataset="walks", seconds=0.02, quality=None,
        tracking={"mlflow": server, "experiment": "comparisons"},
    )  # fmt: skip
    figures = evaluate(config, storage.store())
    told: list[str] = []
    track_comparison(config, figures, storage.store(), told.append)
    found = Served(server, "comparisons").only()
    assert told == []
    assert found["status"] == "FINISHED"
    assert found["tags"]["flowkd.teacher"] == "runs/teacher"
    assert found["metrics"]["teacher.bits_per_dim"] == pytest.approx(
        figures["teacher"].bits_per_dim
    )


@pytest.mark.server
def test_what_a_server_missed_is_sent_when_it_answers(
    server: str, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "PERIOD_SECONDS", 0.05)
    from flowkd.training.logs import mlflow as module

    away, answers = [True], module.MlflowRun
    tries = 0

    def sometimes(*arguments: Any) -> Any:
        nonlocal tries
        tries += 1
        if away[0]:
            raise ConnectionError("connection refused")
        return answers(*arguments)

    monkeypatch.setattr(module, "MlflowRun", sometimes)
    told: list[str] = []
    config = sent_to(server, "late")
    with tracked(config, local_store, told.append), RunLog(local_store, "late") as log:
        for step in range(1, 10):
            log.append({"step": step, "loss": 1 / step})
        while tries < 3:
            time.sleep(0.01)
        away[0] = False
    found = Served(server, "of late").only()
    assert told_once(told, "connection refused")
    assert Served(server, "of late").curve(found["id"], "loss") == logged(
        local_store, "late", "loss"
    )


@pytest.mark.parametrize("kind", ["refuses", "never answers"])
def test_a_server_that_is_away_harms_no_training_and_is_told_once(
    storage: StorageConfig, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(background, "END_SECONDS", 2.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if kind != "refuses":
            silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        name = kind.replace(" ", "-")
        told: list[str] = []
        train_run(sent_to(url, name), storage, told.append)
    assert storage.store().exists("runs", name, "result", "manifest.json")
    assert told_once(told, f"MLflow at {url} takes nothing now")


def test_a_missing_package_is_named_and_harms_no_training(
    storage: StorageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    told: list[str] = []
    train_run(sent_to("http://127.0.0.1:1", "without"), storage, told.append)
    assert told_once(told, "pip install 'flowkd[mlflow]'")


def test_where_it_is_sent_may_change_and_is_in_no_artifact(storage: StorageConfig) -> None:
    store = storage.store()
    train_run(training("moved", **HERE), storage)
    assert train_run(sent_to("http://127.0.0.1:1", "moved"), storage) == "runs/moved"
    train_run(sent_to("http://127.0.0.1:1", "elsewhere"), storage)
    assert load_artifact(store, "runs/elsewhere").config.training["name"] == "elsewhere"
    assert "tracking" not in load_artifact(store, "runs/elsewhere").config.training


def test_a_url_with_credentials_is_refused() -> None:
    with pytest.raises((ConfigError, ValueError), match="MLFLOW_TRACKING_USERNAME"):
        sent_to("http://ann:secret@127.0.0.1:5000", "secret")
