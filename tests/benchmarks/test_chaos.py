"""What `make chaos` counts: a double run, a loss, a traceback and another result are found."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks import document
from benchmarks.chaos import damages, jobs, witness
from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.ledger import doubled, lost, process_of, read_ledger
from benchmarks.chaos.page import section
from benchmarks.chaos.plan import make_plan
from benchmarks.chaos.site import wait_for
from benchmarks.chaos.tracebacks import LogWatch, last_line, own_tracebacks
from flowkd.store.store import Store
from flowkd.training.logs.metrics import RunLog
from tests.support import ROOT

DONE = frozenset({"succeeded"})


def start(folder: Path, job: str, seconds: float) -> subprocess.Popen[bytes]:
    """Starts a command as the queue does, in a process that attends to the ledger."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text("from benchmarks.chaos.witness import attend; attend()")
    config = folder / f"{seconds:g}.yaml"
    config.write_text(f"seconds: {seconds:g}")
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.chaos.quick", str(config)],
        env={
            **os.environ, witness.FOLDER: str(folder), witness.JOB: job,
            witness.STORE: str(folder / "store"), "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
        },
        stdout=subprocess.PIPE,
    )  # fmt: skip


def test_a_job_that_runs_twice_at_once_is_doubled_and_one_that_runs_after_another_is_not(tmp_path):
    both = [start(tmp_path, "twice", 60) for _ in range(2)]
    for process in both:
        assert process.stdout.readline()  # it has begun
        once = start(tmp_path, "once", 0)
        assert once.wait(60) == 0
    wait_for(lambda: doubled(read_ledger(tmp_path), {"twice": 1}), 60)
    for process in both:
        process.kill()
        process.communicate()
    entries = read_ledger(tmp_path)
    assert list(doubled(entries, {"twice": 1, "once": 1})) == ["twice"]
    assert doubled(entries, {"once": 2}) == {"once": "succeeded 2 times"}
    assert process_of(entries, "once") == once.pid
    assert process_of(entries, "never") is None


@pytest.mark.skipif(sys.platform != "linux", reason="the state of a process is read from /proc")
@pytest.mark.parametrize(("then", "found"), [(signal.SIGCONT, ["frozen"]), (signal.SIGKILL, [])])
def test_a_frozen_job_beside_its_successor_is_doubled_once_it_goes_on(tmp_path, then, found):
    first = start(tmp_path, "frozen", 60)
    assert first.stdout.readline()
    first.send_signal(signal.SIGSTOP)
    second = start(tmp_path, "frozen", 60)
    assert second.stdout.readline()
    assert doubled(read_ledger(tmp_path), {"frozen": 1}) == {}
    first.send_signal(then)
    if found:
        wait_for(lambda: doubled(read_ledger(tmp_path), {"frozen": 1}), 60)
    else:
        first.wait()
    assert list(doubled(read_ledger(tmp_path), {"frozen": 1})) == found
    for process in (first, second):
        process.kill()
        process.communicate()


def test_a_job_is_lost_that_ends_otherwise_or_never_ran_to_its_end(tmp_path):
    assert start(tmp_path, "done", 0).wait(60) == 0
    cut = start(tmp_path, "cut", 60)
    assert cut.stdout.readline()
    cut.kill()
    cut.communicate()
    states = dict.fromkeys(("done", "cut", "never"), "succeeded") | {"failed": "failed"}
    expected = dict.fromkeys((*states, "forgotten"), DONE)
    assert lost(read_ledger(tmp_path), states, expected) == {
        "cut": "succeeded, and its command never ran to its end",
        "never": "succeeded, and its command never ran to its end",
        "failed": "failed, not succeeded",
        "forgotten": "gone, not succeeded",
    }


def test_a_disk_is_full_for_as_long_as_it_is_told_to_be_and_below_the_store_alone(tmp_path):
    (tmp_path / "full").touch()
    (tmp_path / "store").mkdir()
    code = """
        import pathlib, sys
        from benchmarks.chaos.witness import attend
        attend()
        folder = pathlib.Path(sys.argv[1])
        (folder / "beside").write_text("")
        try:
            (folder / "store" / "inside").write_text("")
        except OSError as error:
            print(error.strerror)
        (folder / "full").unlink()
        (folder / "store" / "inside").write_text("")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        env={**os.environ, witness.FOLDER: str(tmp_path), witness.STORE: str(tmp_path / "store")},
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "No space left on device\n"


THEIRS = """
Traceback (most recent call last):
  File "/usr/lib/python3/site-packages/ray/worker.py", line 1, in <module>
    raise ValueError
ValueError
""".lstrip()
OURS = THEIRS.replace("/usr/lib/python3/site-packages/ray", f"{ROOT}/cluster/queue")
INSTALLED = THEIRS.replace("/usr/lib", f"{ROOT}/.venv/lib")


@pytest.mark.parametrize("before", ["", "(pid=3) ", "\x1b[36m(pid=3)\x1b[0m "])
def test_tracebacks_through_flowkds_code_are_found_and_no_others(before):
    text = "".join(before + line for line in (THEIRS + INSTALLED + OURS).splitlines(True))
    (found,) = own_tracebacks(f"before\n{text}after {ROOT}/cluster/x.py\n")
    assert found.endswith("ValueError")
    assert "after" not in found


def test_a_traceback_within_an_entry_of_json_is_found_and_told_in_a_line():
    entry = json.dumps({"level": "ERROR", "exc_text": OURS.rstrip(), "line": 3})
    (found,) = own_tracebacks(f'{{"level": "INFO"}}\n{entry}\n{{"level": "INFO"}}\n')
    assert last_line(f"a.log: {found}").endswith("(cluster/queue/worker.py:1)")
    assert "INFO" not in found


def test_a_planted_traceback_is_found_once_in_a_log_that_grows(tmp_path):
    watch = LogWatch([tmp_path])
    log = tmp_path / "deep" / "worker.err"
    log.parent.mkdir()
    log.write_text("begins\n" + THEIRS)
    assert watch.look() == []
    with log.open("a") as file:
        file.write(OURS)
    assert [each.partition(":")[0] for each in watch.look()] == ["worker.err"]
    log.rename(tmp_path / "moved.err")  # as Ray does when a worker has ended
    assert watch.look() == []


def test_a_training_whose_losses_or_steps_differ_is_found():
    store = Store("memory://chaos-losses")
    for run, losses in {"calm": [3, 2], "same": [3, 2], "other": [3, 2.1], "short": [3]}.items():
        with RunLog(store, run) as log:
            for step, loss in enumerate(losses):
                log.append({"step": step, "loss": loss})
    assert jobs.difference(store, "same") is None
    assert jobs.difference(store, "other") == "losses differ by 0.1"
    assert jobs.difference(store, "short") == "1 lines of metrics, 2 in the undisturbed run"
    store.remove()


def test_the_plan_is_that_of_its_seed_and_has_each_fault_before_any_a_second_time():
    stores = {name: fault.stores for name, fault in FAULTS.items()}
    plans = [make_plan(stores, seed) for seed in range(3)]
    assert plans[0] == make_plan(stores, 0)
    assert plans[0] != plans[1]
    for plan in plans:
        assert [fault for fault, _ in plan[: len(FAULTS)]] == list(FAULTS)
        assert len(set(plan)) == len(plan) == sum(map(len, stores.values()))


def test_damage_changes_what_it_damages():
    choice = random.Random(0)
    for damage in damages.DAMAGES:
        assert damage(b'{"state": "running"}', choice) != b'{"state": "running"}'


def test_the_page_counts_what_was_found():
    row = {
        "fault": "kill-head", "about": "all of it", "store": "disk", "jobs": 5, "seconds": 9.6,
        "note": "", "lost": {"a": "gone"}, "doubled": {}, "wrong": {}, "tracebacks": ["t", "t"],
    }  # fmt: skip
    found = {
        "date": "2026-01-01", "seed": 0, "minutes": 15, "machine": "a CPU", "load": 2,
        "rows": [row, row],
    }  # fmt: skip
    text = section(found)
    assert "| kill-head | all of it | disk, disk | 10 | 2 | 0 | 0 | 4 | 19 |" in text
    not_tried = text.partition("Not tried: ")[2].partition(".")[0].split(", ")
    assert sorted(not_tried) == sorted(set(FAULTS) - {"kill-head"})


def test_the_tests_table_and_that_of_chaos_are_on_one_page_and_leave_each_other_alone(
    tmp_path, monkeypatch
):
    page = tmp_path / "reliability.md"
    page.write_text("old\n<!-- chaos -->\nchaos of before\n<!-- /chaos -->\n")
    monkeypatch.setattr(document, "DOCS", tmp_path)
    row = {"injected": "once", "outcome": "went on", "seconds": 3}
    page.write_text(document.reliability({"date": "2026-01-01", "faults": {"a kill": row}}))
    marks = document.CHAOS_BEGIN, document.CHAOS_END
    text = page.read_text()
    assert "| a kill | once | went on | 3 |" in text
    assert "chaos of before" in text
    document.put_between(page, *marks, "chaos of now")
    assert page.read_text() == text.replace("chaos of before", "chaos of now")
