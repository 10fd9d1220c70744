"""However a command is called, it ends with one line and a code: no traceback, no empty list."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import exits
from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.prepare import prepare
from flowkd.data.manifest import read_manifest
from flowkd.errors import FlowkdError, StoppedError
from flowkd.store.store import Store
from jobs.cli.console import PlainConsole
from jobs.cli.main import app
from tests.support import ROOT
from tests.support.small_runs import furnish


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with things that are no stores, and with a store that is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file.csv").write_text("a,b\n1,2\n")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "holiday.txt").write_text("sun")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.yaml").write_text("just words")
    prepare(DigitsConfig(), Store(str(tmp_path / "good")))
    return tmp_path


READING = [
    "models list", "models show models/a@b", "models verify", "models alias a b",
    "models remove models/a@b", "runs list", "runs show a", "runs prune", "data list",
    "data show digits", "queue --once", "queue --json", "show a", "logs a", "cancel a", "retry a",
    "search status a", "search report a",
]  # fmt: skip
NO_STORES = {
    "nowhere": "there is no store",
    "foreign": "is no store: expected some of datasets,",
    "file.csv": "file.csv is a file: correct --store or FLOWKD_STORE",
    "file.csv/store": "file.csv is a file: correct --store or FLOWKD_STORE",
    "gs://bucket/store": "pip install gcsfs",
    "nothing://bucket": "Protocol not known: nothing",
}


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("store", NO_STORES)
def test_what_is_no_store_is_not_an_empty_one(places: Path, command: str, store: str) -> None:
    code, said = call(*command.split(), "--store", store)
    assert (code, said.count("\n"), said[:7]) == (1, 1, "error: ")
    assert NO_STORES[store] in said
    assert not (places / "nowhere").exists()


def test_an_empty_folder_is_an_empty_store(places: Path) -> None:
    assert call("models", "list", "--store", "empty") == (0, "none\n")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("nothing", 2, "No such command"),
        ("models show", 2, "Missing argument"),
        ("queue --often", 2, "No such option"),
        ("search", 2, "expected a file"),
        ("models show digits", 1, "expected models/NAME@VERSION_OR_ALIAS or runs/RUN"),
        ("models show runs/gone", 1, "no finished run 'gone'"),
        ("models show models/../x@y", 1, "expected models/NAME@VERSION_OR_ALIAS"),
        ("models show models/a@../../b", 1, "no '../../b' of model 'a'"),
        ("models verify runs/gone", 1, "no finished run 'gone'"),
        ("models alias a ../b v", 1, "expected an alias of letters"),
        ("models remove runs/a", 1, "expected models/NAME@VERSION; got 'runs/a'"),
        ("runs show gone", 1, "no run 'gone'"),
        ("runs prune --keep 0", 1, "expected to keep at least 1"),
        ("data show ../../etc", 1, "expected a path inside"),
        ("data show digits --split tset --png a.png", 1, "tset"),
        ("data show digits --png nowhere/a.png", 1, "'nowhere/a.png': there is no such file"),
        ("data import nothing", 1, "got 'nothing'"),
        ("data import digits --set sed=1", 1, "sed: unknown key; did you mean seed?"),
        ("data import digits --set seed", 1, "expected --set key.path=value"),
        ("data import digits --name ../x", 1, "name: expected letters"),
        ("data import table --name a --source gone.csv", 1, "gone.csv"),
        ("data import table --name a --source s3://none/a.csv", 1, "AWS_ACCESS_KEY_ID"),
        ("data import table --name a --source gs://none/a.csv", 1, "pip install gcsfs"),
        ("data import images --name a --source nothing://x", 1, "nothing"),
        ("show gone", 1, "no job 'gone'"),
        ("logs ../x", 1, "expected a path inside"),
        ("submit bake --config text.yaml", 1, "expected a mapping in text.yaml; got str"),
        ("submit distill --config gone.yaml", 1, "no config file 'gone.yaml'"),
        ("submit distill --config foreign", 1, "cannot read config file 'foreign'"),
        ("submit distill --config gone.yaml --queued-timeout -1", 1, "queued: Input should be"),
        ("search --config text.yaml", 1, "expected a mapping"),
        ("search status gone", 1, "no search 'gone'"),
        ("config schema gone", 1, "no configuration 'gone'"),
    ],
)
def test_garbage_is_answered_with_one_line(
    places: Path, command: str, code: int, message: str
) -> None:
    store = [] if command.startswith(("nothing", "config")) else ["--store", "good"]
    found, said = call(*command.split(), *store)
    assert found == code, said
    assert message in said
    assert "Traceback" not in said
    if code == 1 and not command.startswith("models verify"):  # which lists what it verified
        assert (said.count("\n"), said[:7]) == (1, "error: ")


def test_text_of_users_is_shown_as_it_is(places: Path) -> None:
    names = ["T [K]", "n [/cm3]", "[bold]b", ":smile:", "\x1b]0;title\x07"]
    rows = "\n".join(",".join(str((i * 7 + j * i) % 101) for j in range(5)) for i in range(1, 100))
    (places / "units.csv").write_text(",".join(names) + "\n" + rows + "\n")
    arguments = ["--source", "units.csv", "--name", "units", "--store", "good"]
    for command in (["data", "import", "table", *arguments], ["data", "show", *arguments[2:]]):
        command = [word for word in command if word != "--name"] if "show" in command else command
        code, said = call(*command)
        assert code == 0, said
        text = " ".join(said.split())
        for name in ("T [K]", "n [/cm3]", "[bold]b", ":smile:", r"\x1b]0;title\x07"):
            assert f" {name} " in text
        assert "\x1b" not in said


def test_another_import_of_a_name_is_refused_and_tells_what_depends_on_the_first(
    local_store: Store,
) -> None:
    furnish(local_store)
    before = read_manifest(local_store, "walks")
    command = ["data", "import", "digits", "--name", "walks", "--store", local_store.uri]
    code, said = call(*command)
    assert code == 1
    assert "there is another data set 'walks'" in said
    assert "or replace it by --replace; what was trained on it: runs/teacher" in said
    assert read_manifest(local_store, "walks") == before
    code, said = call(*command, "--replace")
    assert code == 0
    assert "replaced 'walks', on which were trained: runs/teacher" in said
    replaced = read_manifest(local_store, "walks")
    assert replaced.config["kind"] == "digits"
    assert call(*command)[0] == 0  # the very same import is kept
    assert read_manifest(local_store, "walks") == replaced


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FlowkdError("no a"), 1, "error: no a\n"),
        (FlowkdError("at https://a:b@c/\x1b[1m"), 1, "error: at https://c/\\x1b[1m\n"),
        (StoppedError("stopped"), 75, "error: stopped\n"),
        (OSError(errno.ENOSPC, "full", "/a"), 1, "error: '/a': the disk is full; free"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_error_is_a_line_and_a_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    with pytest.raises(SystemExit) as ended, exits.exits():
        raise error
    printed = capsys.readouterr().err
    assert ended.value.code == code
    assert printed.startswith(said)
    assert printed.count("\n") == 1


def test_a_fault_keeps_its_traceback_and_asks_to_be_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, exits.exits():
        {}["https://a:s3cret@b"]
    said = capsys.readouterr().err
    assert ended.value.code == 70
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("error: KeyError: ")
    assert "please report it" in said
    assert "raise" in said or "https://b" in said


def test_a_python_without_the_packages_names_the_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "jobs.distill", "--config", "a.yaml"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'flowkd[cluster]'" in done.stderr


def test_credentials_of_a_source_are_neither_kept_nor_shown(places: Path) -> None:
    (places / "www").mkdir()
    url = "http://ann:s3cret@127.0.0.1:9/a.csv?sig=s3cret"
    code, said = call("data", "import", "table", "--source", url, "--name", "a", "--store", "good")
    assert code == 1
    assert "s3cret" not in said
    assert "127.0.0.1:9" in said
    (places / "data.yaml").write_text(json.dumps({"kind": "table", "name": "a", "source": url}))
    code, said = call("submit", "prepare", "--config", "data.yaml", "--store", "good")
    assert code == 1
    assert "expected a config without passwords and tokens" in said
    kept = b"".join(path.read_bytes() for path in (places / "good").rglob("*") if path.is_file())
    assert b"s3cret" not in kept


def test_an_error_has_its_traceback_where_debug_asks_for_it(places: Path) -> None:
    code, said = call("--debug", "runs", "show", "gone", "--store", "good")
    assert code == 1
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith("error: no run 'gone'")


def test_hints_go_to_stderr_and_quiet_leaves_out_what_is_no_result(places: Path) -> None:
    heard = CliRunner().invoke(app, ["queue", "--once", "--store", "good"])
    assert (heard.exit_code, heard.stdout) == (0, "none\n")
    assert heard.stderr.startswith("no dispatcher has looked at the queue yet")
    quiet = CliRunner().invoke(app, ["-q", "queue", "--once", "--store", "good"])
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "none\n", "")
    failed = CliRunner().invoke(app, ["--quiet", "runs", "show", "gone", "--store", "good"])
    assert failed.stderr.startswith("error: no run 'gone'")


def test_no_color_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert PlainConsole().no_color
