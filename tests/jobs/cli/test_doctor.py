"""`flowkd doctor`: each thing a line, with what to do; exit code 1 where something stops work."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import doctor
from jobs.cli.main import app


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor", *arguments])
    return done.exit_code, done.output


def test_a_fit_machine_is_ok_and_its_store_as_it_was(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    code, said = call("--store", str(tmp_path))
    assert code == 0, said
    lines = said.splitlines()
    assert all(line.split()[0] in ("ok", "note") for line in lines)
    for what in ("Python", "torch", "device", "Ray", "port 8000", "s3fs", "store", "disk"):
        assert any(line[7:].startswith(f"{what}: ") for line in lines), what
    assert "ok     store, private: mode 0700" in lines
    assert "ok     store, conditional writes: atomic" in lines
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_that_is_none_stops_work_and_all_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said = call("--store", str(tmp_path / "file"), "--json")
    found = {each["what"]: each for each in json.loads(said)}
    assert code == 1
    assert found["store"]["state"] == "stops"
    assert "is a file" in found["store"]["found"]
    assert found["torch"]["state"] in ("ok", "note")


def test_what_others_may_write_to_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    code, said = call("--store", str(tmp_path))
    assert code == 0
    assert f"note   store, private: others may write to {tmp_path}" in said
    assert f"chmod 700 {tmp_path}" in said


def test_a_taken_port_an_old_python_and_a_full_disk_are_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert doctor.port(number).state == "note"
    assert doctor.port(number).state == "ok"
    assert doctor.python((3, 10, 9)).state == "stops"
    assert doctor.room(2**20, tmp_path).state == "stops"
    assert doctor.room(2**31, tmp_path).state == "note"
    assert doctor.room(2**40, tmp_path).state == "ok"


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    found = {each.what: each for each in doctor.optional_packages()}
    assert found["astropy"].remedy == "pip install 'flowkd[fits]'"
    assert doctor.ray().remedy == "pip install 'flowkd[cluster]'"
