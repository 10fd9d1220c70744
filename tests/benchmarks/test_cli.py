"""What a command takes of a CPU is measured in a process of its own, and told beside Python's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks import cli


def test_what_works_more_takes_more(tmp_path: Path) -> None:
    def seconds(code: str, fails: bool = False) -> float:
        call = (sys.executable, "-c", code)
        return cli.cpu_seconds(call, dict(os.environ), str(tmp_path), fails=fails)

    assert seconds("sum(range(20_000_000))") > seconds("import time; time.sleep(0.3)")
    with pytest.raises(SystemExit, match="ended with 1: b'no"):
        seconds("raise SystemExit('no')")
    assert seconds("raise SystemExit('no')", fails=True) > 0


def test_the_page_has_a_row_for_each_command() -> None:
    names = [cli.PYTHON, *(f"flowkd {words}" for words in cli.COMMANDS)]
    found = {"seconds": dict.fromkeys(names, 0.2), "times_python": dict.fromkeys(names, 2.0)}
    page = cli.document({**found, "rounds": 5, "date": "today", "python": "3", "machine": "m"})
    assert all(f"| `{name}` | 0.20 | 2.0 |" in page for name in names)
    assert "| `flowkd --help` | 0.20 | 2.0 | < 0.3 s |" in page
