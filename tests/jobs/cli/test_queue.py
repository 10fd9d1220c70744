"""The queue's commands: what is accepted is kept and shown, what could never run is refused."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.queue.admission import QueueLimits
from cluster.queue.cluster import ClusterError
from cluster.queue.config import QueueConfig
from cluster.queue.dispatcher import Dispatcher
from cluster.queue.events import Event
from cluster.queue.job_log import log_folder
from cluster.queue.messages import JobRow, QueueTable
from cluster.queue.records import QueueRecords
from flowkd.store.store import Store
from tests.support import ROOT
from tests.support.queue_commands import call, submit
from tests.support.small_cluster import SmallCluster


def test_a_job_is_accepted_once_with_what_it_takes(local_store: Store, configs: Path) -> None:
    options = ["--id", "one", "--priority", "3", "--owner", "ann", "--running-timeout", "60"]
    code, said = submit(local_store, configs, *options)
    assert (code, said) == (0, "one: accepted\n")
    code, said = submit(local_store, configs, *options)
    assert (code, said) == (0, "one: was accepted before\n")
    spec = QueueRecords(local_store).spec("one").spec
    assert (spec.priority, spec.owner, spec.timeouts.running) == (3, "ann", 60)
    assert (spec.resources.workers, spec.resources.cpus, spec.resources.gpus) == (2, 1, 0)
    assert spec.config["train"]["steps"] == 5
    code, said = submit(local_store, configs, *options, "--set", "train.steps=4")
    assert code == 1
    assert "job 'one' is in the queue with another config" in said
    assert QueueRecords(local_store).spec("one").spec == spec


def test_without_an_id_each_submission_is_a_job(local_store: Store, configs: Path) -> None:
    found = [json.loads(submit(local_store, configs, "--json")[1])[0]["job"] for _ in range(2)]
    assert len(set(found)) == 2
    assert all(name.startswith("teacher-") for name in found)
    assert QueueRecords(local_store).jobs() == sorted(found)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ([], "distill", "objective.kind: expected distillation for a job of kind distill"),
        (["--set", "trian.steps=3"], "train_teacher", "trian: unknown key"),
        (["--depends-on", "gone"], "train_teacher", "depends on 'gone', which is not in the queue"),
        (["--id", "../x"], "train_teacher", "id: "),
        (["--set", "scaling.gpu=true"], "train_teacher", "would never start: it takes 2 times"),
        (
            ["--set", "scaling.cpus=5"],
            "train_teacher",
            "the cluster's nodes have 4 CPU: ask for less",
        ),
        (["--webhook", "ftp://x"], "train_teacher", "webhook"),
    ],
)
def test_what_could_never_run_is_refused_with_the_reason(
    local_store: Store, configs: Path, arguments: list[str], kind: str, message: str
) -> None:
    QueueRecords(local_store).write_table(QueueTable(time=0, dispatcher="a", nodes=[{"CPU": 4}]))
    code, said = submit(local_store, configs, *arguments, kind=kind)
    assert code == 1
    assert message in said.replace("\n", " ")
    assert QueueRecords(local_store).jobs() == []


def test_an_unknown_kind_is_answered_with_those_there_are(
    local_store: Store, configs: Path
) -> None:
    code, said = call(local_store, "submit", "bake", "--config", str(configs / "teacher.yaml"))
    assert code == 1
    assert "no kind of job 'bake'; expected one of prepare, train_teacher, import_model" in said


def test_a_full_queue_refuses_more(local_store: Store, configs: Path) -> None:
    waiting = JobRow(job="a", kind="x", owner="", priority=0, state="queued", position=1)
    table = QueueTable(time=0, dispatcher="a", limits=QueueLimits(max_queued=1), rows=[waiting])
    QueueRecords(local_store).write_table(table)
    code, said = submit(local_store, configs)
    assert code == 1
    assert "1 jobs wait, and the queue takes 1" in said


def test_what_no_dispatcher_has_seen_is_shown_as_submitted(
    local_store: Store, configs: Path
) -> None:
    submit(local_store, configs, "--id", "one")
    code, said = call(local_store, "queue", "--once")
    assert code == 0
    assert "submitted" in said
    assert "no dispatcher has looked at the queue yet" in said
    code, said = call(local_store, "queue", "--json")
    assert [(row["job"], row["state"]) for row in json.loads(said)] == [("one", "submitted")]
    # A submission makes the folder before the spec: until then it is no job, nor damaged.
    Path(local_store.path("queue", "two")).mkdir()
    assert len(json.loads(call(local_store, "queue", "--json")[1])) == 1


def test_a_job_is_shown_with_its_history_and_its_log(local_store: Store, configs: Path) -> None:
    submit(local_store, configs, "--id", "one")
    records = QueueRecords(local_store)
    for number, state in enumerate(("queued", "starting", "running", "failed"), start=1):
        reason = "exit code 3" if state == "failed" else ""
        event = {"number": number, "state": state, "time": 1.0, "attempt": 1, "reason": reason}
        records.append("one", Event.model_validate(event))
    code, said = call(local_store, "show", "one")
    assert code == 0
    assert all(word in said for word in ("queued", "starting", "exit code 3", "batch_size: 32"))
    facts = json.loads(call(local_store, "show", "one", "--json")[1])
    assert facts["state"] == "failed"
    assert [event["state"] for event in facts["events"]][-1] == "failed"
    for number, text in enumerate((b"first\n", b"second\n"), start=1):
        local_store.write(text, *log_folder("one", 1), f"{number:08}.txt")
    assert call(local_store, "logs", "one", "--follow") == (0, "first\nsecond\n")


def test_a_job_that_the_cluster_does_not_take_is_shown_with_the_reason(
    local_store: Store, configs: Path
) -> None:
    submit(local_store, configs, "--id", "one")
    records = QueueRecords(local_store)
    cluster = SmallCluster(records, cpus=2)

    def refuse(job: str, attempt: int, kind: str) -> None:
        raise ClusterError("no agent takes jobs")

    cluster.submit = refuse
    commands = {"train_teacher": ("true",)}
    dispatcher = Dispatcher(records, cluster, QueueConfig(commands=commands))
    dispatcher.tick()
    facts = json.loads(call(local_store, "show", "one", "--json")[1])
    assert (facts["state"], facts["reason"]) == ("starting", "no agent takes jobs; trying again")
    assert "no agent takes jobs" in call(local_store, "queue", "--once")[1]
    assert call(local_store, "cancel", "one")[0] == 0
    dispatcher.tick()
    facts = json.loads(call(local_store, "show", "one", "--json")[1])
    assert facts["state"] == "cancelled"
    assert "agent" not in facts["reason"]


def test_only_what_can_be_asked_is_asked(local_store: Store, configs: Path) -> None:
    submit(local_store, configs, "--id", "one")
    records = QueueRecords(local_store)
    code, said = call(local_store, "retry", "one")
    assert code == 1
    assert "cannot retry job 'one': expected one that has ended" in said
    assert call(local_store, "cancel", "one")[0] == 0
    assert [(request.job, request.what) for request in records.inbox()[0].values()] == [
        ("one", "cancel")
    ]
    ended = {"number": 1, "state": "cancelled", "time": 1.0}
    records.append("one", Event.model_validate(ended))
    code, said = call(local_store, "cancel", "one")
    assert code == 1
    assert "expected one that waits or runs; it is cancelled" in said
    assert call(local_store, "retry", "one")[0] == 0
    code, said = call(local_store, "logs", "gone")
    assert code == 1
    assert "no job 'gone' in the queue" in said


def test_a_damaged_job_is_shown_with_the_others_and_can_be_repaired_or_removed(
    local_store: Store, configs: Path
) -> None:
    submit(local_store, configs, "--id", "good")
    local_store.write(b"{", "queue", "bad", "spec.json")
    code, said = call(local_store, "queue", "--once")
    assert code == 0
    assert "submitted" in said
    assert "bad is set aside: queue/bad/spec.json" in said
    asked = QueueRecords(local_store).inbox
    assert call(local_store, "queue", "repair", "bad")[0] == 0
    assert call(local_store, "queue", "remove", "bad")[0] == 0
    assert [request.what for request in asked()[0].values()] == ["repair", "remove"]
    code, said = call(local_store, "queue", "remove", "good")
    assert code == 1
    assert "`flowkd cancel good` ends it" in said
    code, said = call(local_store, "queue", "repair", "gone")
    assert code == 1
    assert "no job 'gone'" in said


def test_a_log_reaches_a_terminal_without_what_controls_it_and_a_file_as_it_is(
    local_store: Store, configs: Path
) -> None:
    submit(local_store, configs, "--id", "one")
    log = "half é\n\x1b]0;title\x07\x1b[31mred\x1b[0m 1%\r2%\n".encode()
    for number, data in enumerate((log[:6], log[6:]), start=1):  # within the letter
        local_store.write(data, *log_folder("one", 1), f"{number:08}.txt")
    command = [sys.executable, "-m", "jobs.cli.main", "logs", "one", "--attempt", "1"]
    command += ["--store", local_store.uri]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    piped = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
    assert piped.stdout == log
    terminal, slave = pty.openpty()
    subprocess.run(command, env=environment, stdout=slave, check=True, timeout=120)
    os.close(slave)
    shown = os.read(terminal, 10_000).decode().replace("\r\n", "\n")
    os.close(terminal)
    assert shown == "half é\n\\x1b]0;title\\x07red 1%\n2%\n"


def test_a_job_is_checked_before_it_is_accepted(local_store: Store, configs: Path) -> None:
    arguments = ["submit", "train_teacher", "--config", str(configs / "teacher.yaml")]
    code, said = call(local_store, *arguments)
    assert code == 1
    assert "no dataset 'digits'" in said
    code, said = call(local_store, "submit", "prepare", "--config", str(configs / "data.yaml"))
    assert code == 0
    # A job that waits will make the data set.
    assert call(local_store, *arguments, "--check")[0] == 0
    assert len(QueueRecords(local_store).jobs()) == 1
    assert call(local_store, *arguments)[0] == 0
    assert len(QueueRecords(local_store).jobs()) == 2


def test_a_kind_of_the_clusters_own_is_accepted_once_its_dispatcher_names_it(
    local_store: Store, configs: Path
) -> None:
    (configs / "plot.yaml").write_text("pages: 3\n")
    arguments = ["submit", "plot", "--config", str(configs / "plot.yaml"), "--id", "one"]
    code, said = call(local_store, *arguments)
    assert code == 1
    assert "no kind of job 'plot'" in said
    records = QueueRecords(local_store)
    records.write_table(QueueTable(time=0, dispatcher="a", kinds=("plot",)))
    assert call(local_store, *arguments, "--set", "pages=4") == (0, "one: accepted\n")
    assert records.spec("one").spec.config == {"pages": 4}
    code, said = submit(local_store, configs)
    assert code == 1
    assert "the queue runs no jobs of kind 'train_teacher'; expected one of plot" in said


def test_a_run_that_a_job_makes_or_needs_is_not_removed(local_store: Store, configs: Path) -> None:
    local_store.write(b"{}", "runs", "teacher", "failure.json")
    assert submit(local_store, configs, "--id", "one")[0] == 0
    for more in ([], ["--force"]):
        code, said = call(local_store, "runs", "remove", "teacher", *more)
        assert code == 1
        assert "run 'teacher' is what one of the queue makes or needs" in said
    ended = {"number": 1, "state": "cancelled", "time": 1.0}
    QueueRecords(local_store).append("one", Event.model_validate(ended))
    assert call(local_store, "runs", "remove", "teacher") == (0, "removed runs/teacher\n")
    code, said = call(local_store, "runs", "remove", "teacher")
    assert code == 1
    assert "no run 'teacher'" in said


@pytest.mark.parametrize("name", ["*", "a?", "two words", "no-spec"])
def test_a_folder_that_is_no_job_can_be_named_to_be_removed(local_store: Store, name: str) -> None:
    folder = Path(local_store.path("queue")) / name
    folder.mkdir(parents=True)
    assert call(local_store, "queue", "remove", name) == (0, f"{name}: to be removed\n")
    assert [each.job for each in QueueRecords(local_store).inbox()[0].values()] == [name]


def test_a_kind_without_its_file_is_refused(tmp_path: Path) -> None:
    code, printed = call(Store(str(tmp_path / "store")), "submit", "distill")
    assert code == 2
    assert "expected --config FILE for a job of kind distill" in printed
