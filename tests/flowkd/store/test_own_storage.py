"""With FLOWKD_TEST_STORE the tests of object storage run where it says, and leave nothing there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from flowkd.store.store import Store
from tests.support import ROOT
from tests.support.servers.moto import MotoServer


def test_they_run_there_and_clean_up(
    moto_store: Store, moto_server: MotoServer, tmp_path: Path
) -> None:
    moto_store.write(b"somebody's", "kept")
    test = "tests/flowkd/store/test_store.py::test_folder_markers_of_other_tools_are_no_names[s3]"
    temporary = tmp_path / "temporary"
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={temporary}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, test],
        cwd=ROOT,
        env={**os.environ, **moto_server.environment(), "FLOWKD_TEST_STORE": moto_store.uri},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert not list(temporary.rglob("proxy.conf"))  # no server was started for it
    prefix = moto_store.uri.removeprefix("s3://")
    assert re.search(rf'"PUT /{prefix}/[0-9a-f]{{32}}/runs/', moto_server.log.read_text())
    assert moto_store.list() == ["kept"]
