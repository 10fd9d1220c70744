"""Pipelines and workflows in the queue: submitted, shown, cancelled and removed as one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cluster.queue.events import Event
from cluster.queue.job_log import log_folder
from cluster.queue.records import QueueRecords
from flowkd.store.store import Store
from tests.support.queue_commands import call, submit


def test_a_pipeline_is_one_submission_of_jobs_that_follow_each_other(
    local_store: Store, configs: Path
) -> None:
    code, said = submit(local_store, configs, "--priority", "2", kind="pipeline")
    assert code == 0, said
    records = QueueRecords(local_store)
    specs = {name: records.spec(name).spec for name in records.jobs()}
    assert {name: spec.depends_on for name, spec in specs.items()} == {
        "line.data": (),
        "line.teacher": ("line.data",),
        "line.publish": ("line.teacher",),
        "line.other": ("line.teacher",),
    }
    assert {spec.priority for spec in specs.values()} == {2}
    assert specs["line.publish"].config["alias"] == "new"
    said = submit(local_store, configs, "--priority", "2", kind="pipeline")[1]
    assert said.count("was accepted before") == 4


def test_a_pipeline_with_a_mistake_is_refused_whole(local_store: Store, configs: Path) -> None:
    path = configs / "pipeline.yaml"
    values = yaml.safe_load(path.read_text())
    for change, message in (
        ({"kind": "bake", "config": "data.yaml"}, "no kind of job 'bake'"),
        ({"kind": "publish", "config": "gone.yaml"}, "no config file"),
        (
            {"kind": "publish", "config": "publish.yaml", "after": ["z"]},
            "is after z; expected some",
        ),
        ({"kind": "publish", "config": "publish.yaml", "set": ["x=1"]}, "x: unknown key"),
    ):
        stages = {**values["stages"], "last": change}
        path.write_text(yaml.safe_dump({**values, "stages": stages}, sort_keys=False))
        code, said = submit(local_store, configs, kind="pipeline")
        assert code == 1
        assert message in said
    assert QueueRecords(local_store).jobs() == []


@pytest.fixture
def line(local_store: Store, configs: Path) -> QueueRecords:
    """The queue with a pipeline, `line`, whose data are made, whose teacher failed."""
    assert submit(local_store, configs, kind="pipeline")[0] == 0
    records = QueueRecords(local_store)
    for job, *states in (
        ("line.data", "queued", "starting", "running", "succeeded"),
        ("line.teacher", "queued", "starting", "running", "failed"),
        ("line.publish", "queued", "failed"),
        ("line.other", "queued"),
    ):
        for number, state in enumerate(states, start=1):
            event = {"number": number, "state": state, "time": float(number)}
            event["attempt"] = int("running" in states)
            event["reason"] = "exit code 3" if job == "line.teacher" and state == "failed" else ""
            records.append(job, Event.model_validate(event))
    for job in ("line.data", "line.teacher"):
        local_store.write(f"of {job}\n".encode(), *log_folder(job, 1), "00000001.txt")
    return records


def test_a_pipeline_is_shown_with_its_stages(local_store: Store, line: QueueRecords) -> None:
    code, said = call(local_store, "show", "line")
    assert code == 0
    stages = [row.split()[:3] for row in said.splitlines()[2:]]
    assert stages == [
        ["data", "prepare", "succeeded"],
        ["teacher", "train_teacher", "failed"],
        ["publish", "publish", "failed"],
        ["other", "publish", "queued"],
    ]
    assert "exit code 3" in said
    shown = json.loads(call(local_store, "show", "line", "--json")[1])
    assert shown["state"] == "queued"
    assert [(each["job"], each["ran"]) for each in shown["stages"]][:2] == [
        ("line.data", 1.0),
        ("line.teacher", 1.0),
    ]


def test_a_pipelines_log_is_that_of_the_stage_that_failed(
    local_store: Store, line: QueueRecords
) -> None:
    code, said = call(local_store, "logs", "line")
    assert code == 0
    assert "of line.teacher" in said
    assert "of line.data" not in said


def test_a_pipeline_is_cancelled_and_tried_again_as_one(
    local_store: Store, line: QueueRecords
) -> None:
    code, said = call(local_store, "retry", "line")
    assert (code, said) == (
        0,
        "line.teacher: to be tried again\nline.publish: to be tried again\n",
    )
    assert call(local_store, "cancel", "line") == (0, "line.other: to be cancelled\n")
    asked = [(each.job, each.what) for each in line.inbox()[0].values()]
    assert asked == [("line.teacher", "retry"), ("line.publish", "retry"), ("line.other", "cancel")]


def test_the_queue_tells_which_pipeline_a_job_belongs_to(
    local_store: Store, line: QueueRecords
) -> None:
    rows = json.loads(call(local_store, "queue", "--json")[1])
    assert {row["pipeline"] for row in rows} == {"line"}
    assert "pipeline" in call(local_store, "queue", "--once")[1]


def test_a_job_and_a_pipeline_never_have_one_name(local_store: Store, configs: Path) -> None:
    assert submit(local_store, configs, "--id", "line")[0] == 0
    code, said = submit(local_store, configs, kind="pipeline")
    assert code == 1
    assert "there is a job of this name in the queue: give the pipeline's file another" in said
    assert QueueRecords(local_store).jobs() == ["line"]


def test_a_pipeline_and_a_job_never_have_one_name(local_store: Store, configs: Path) -> None:
    assert submit(local_store, configs, kind="pipeline")[0] == 0
    code, said = submit(local_store, configs, "--id", "line")
    assert code == 1
    assert "there is a pipeline of this name in the queue: submit under another --id" in said


def test_the_records_of_a_pipeline_are_removed_once_all_has_ended(
    local_store: Store, line: QueueRecords
) -> None:
    code, said = call(local_store, "queue", "remove", "line")
    assert code == 1
    assert "cannot remove job 'line.other': expected one that has ended" in said
    assert "`flowkd cancel line` ends it" in said
    assert line.inbox()[0] == {}
    ended = {"number": 2, "state": "cancelled", "time": 9.0}
    line.append("line.other", Event.model_validate(ended))
    assert call(local_store, "queue", "remove", "line")[0] == 0
    assert len(line.inbox()[0]) == 4


def test_a_workflow_is_queued_as_jobs_that_follow_what_they_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("a,b\n" + "1.5,2.5\n" * 100)
    data = {"kind": "table", "name": "rows", "source": "rows.csv"}
    values = {"name": "mine", "data": data, "publish": {"alias": "new"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    store = Store(str(tmp_path / "store"))
    code, printed = call(store, "submit", "mine.yaml", "--set", "teacher.seed=3", "--priority", "2")
    assert code == 0, printed
    records = QueueRecords(store)
    specs = {job.removeprefix("mine."): records.spec(job).spec for job in records.jobs()}
    after = {stage: {each.removeprefix("mine.") for each in spec.depends_on}
             for stage, spec in specs.items()}  # fmt: skip
    assert after == {
        "data": set(),
        "teacher": {"data"},
        "plain": {"data", "teacher"},
        "distilled": {"data", "teacher"},
        "evaluate": {"data", "teacher", "plain", "distilled"},
        "publish": {"plain", "distilled", "evaluate"},
        "deploy": {"publish"},
        "report": {"evaluate", "publish"},
    }
    assert {spec.pipeline for spec in specs.values()} == {"mine"}
    assert {spec.priority for spec in specs.values()} == {2}
    assert specs["teacher"].config["seed"] == 3
    assert specs["data"].config["source"] == str(tmp_path / "rows.csv")
    assert specs["deploy"].config["models"] == {"mine": "models/mine@new"}
    assert specs["report"].config["alias"] == "new"
    code, printed = call(store, "submit", "workflow", "--config", "mine.yaml", "--check")
    assert code == 0, printed
