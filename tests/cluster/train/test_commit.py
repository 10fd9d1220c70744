"""The commit of a lineage is flowkd's own, or none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cluster.train.commit import git_commit


def checkout(folder: Path) -> str:
    """Makes a repository with one commit; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    asked = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return asked.stdout.strip()


def test_a_repository_around_an_installed_flowkd_says_nothing_of_it(tmp_path: Path) -> None:
    commit = checkout(tmp_path / "users")
    installed = tmp_path / "users" / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    assert git_commit(tmp_path / "users") == commit
    assert git_commit(installed) is None


def test_without_a_repository_or_git_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_commit(tmp_path) is None
    checkout(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None
