"""The commit of the code that runs, for the lineage of what it makes."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout, if this is one


def git_commit(root: Path = ROOT) -> str | None:
    """Returns the commit of a checkout of flowkd, by default of the code that runs.

    None where git is missing, or `root` is no checkout's own root: flowkd may be installed within
    another repository, whose commit says nothing of it.
    """
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--show-toplevel", "HEAD"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    top, commit = asked.stdout.splitlines()
    return commit if Path(top).resolve() == root.resolve() else None
