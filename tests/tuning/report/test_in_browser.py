"""A search's page as a real browser lays it out, of hardly any trial and of very many."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from flowkd.store.store import Store
from tests.support.browser import assert_whole, needs_browser, overlapping, seen
from tests.support.small_runs import furnish
from tests.support.small_searches import searched, small_search
from tuning.report.page import search_page

pytestmark = needs_browser


@pytest.fixture(scope="module")
def store() -> Store:
    found = Store(f"memory://{uuid.uuid4().hex}")
    furnish(found)
    searched(found, small_search("few", trials=1), 1, "f", "ff")
    searched(found, small_search("many", trials=300), 300, "fssssf.x", "ff")
    return found


@pytest.mark.parametrize(("name", "width", "dark"), [("few", 1100, False), ("many", 390, True)])
def test_it_is_readable(store: Store, name: str, width: int, dark: bool, tmp_path: Path) -> None:
    found = seen(search_page(store, name), tmp_path, width, dark)
    assert_whole(found, dark)
    assert found["headings"][:2] == ["What the search has gained", "What was searched"]
    text = re.sub(r"\s+", " ", found["text"])
    told = {
        "few": "The best of 3 finished trials, the default distillation, has",
        "many": "less than",
    }
    assert told[name] in text
    assert re.search(r"the plain student 0 2\.\d+ 0\.\d+", text)
    for label, words in found["words"].items():
        if not label.startswith("Hints"):  # whose names are as near as their taps
            assert overlapping(words) == [], label
