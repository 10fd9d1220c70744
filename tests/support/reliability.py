"""What the fault tests found: results/reliability.json, of which `make docs` makes a page."""

from __future__ import annotations

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
        found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {"faults": {}}
        seconds = round(time.monotonic() - began, 1)
        found["faults"][fault] = {"injected": injected, "outcome": outcome, "seconds": seconds}
        found["date"] = date.today().isoformat()
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    return note
