"""What the fault tests found: results/reliability.json, of which `make docs` makes a page."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable
from datetime import date

import pytest

from tests.support import ROOT

RESULTS = ROOT / "results" / "reliability.json"


@pytest.fixture
def reliability() -> Callable[..., None]:
    """Call it last, with the fault, how it was injected and what came of it: one row a fault."""
    began = time.monotonic()

    def note(fault: str, injected: str, outcome: str) -> None:
        seconds = round(time.monotonic() - began, 1)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another process of the tests may write too
            file.seek(0)
            found = json.loads(file.read() or '{"faults": {}}')
            found["faults"][fault] = {"injected": injected, "outcome": outcome, "seconds": seconds}
            found["date"] = date.today().isoformat()
            file.truncate(0)
            file.write(json.dumps(found, indent=2, sort_keys=True) + "\n")

    return note
