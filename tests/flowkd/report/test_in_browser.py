"""Pages as a real browser lays them out: wide, narrow, dark; nothing is empty or sticks out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flowkd.report.drawn_pictures import DrawnPictures
from flowkd.report.page import render
from tests.flowkd.report.test_page import ROLES, pixels, records, report
from tests.flowkd.report.test_tables import table
from tests.support.browser import assert_whole, needs_browser, overlapping, seen

pytestmark = needs_browser

PICTURES = DrawnPictures({"held-out": pixels(), "samples": pixels(1)}, {"errors": pixels(1)}, {})
BITS = {role: {"train": np.linspace(1, 2, 50), "noise": np.linspace(5, 6, 50)} for role in ROLES}
CURVES = {role: records(8) for role in ROLES}
PAGES = {
    "pictures": report(pictures=PICTURES, likelihoods=BITS, curves=CURVES, advice=["do `this`"]),
    "table": report(
        pictures=DrawnPictures(), likelihoods=BITS, curves=CURVES,
        table=table(4, teacher=0.0, plain=0.2, distilled=0.1),
    ),
}  # fmt: skip
HEADINGS = {
    "pictures": ["What to do next", "What it costs", "Pictures", "Likelihoods", "Learning"],
    "table": ["What it costs", "Columns", "Pairs of columns", "Likelihoods", "Learning"],
}


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("pictures", 1100, False), ("pictures", 390, True), ("table", 390, False)],
)
def test_a_page_is_whole_in_a_browser(name: str, width: int, dark: bool, tmp_path: Path) -> None:
    found = seen(render(PAGES[name]), tmp_path, width, dark)
    assert_whole(found, dark)
    assert found["inner"] == width
    assert found["headings"] == [*HEADINGS[name], "Ask it", "How it was made"]
    for label, words in found["words"].items():
        assert overlapping(words) == [], label
