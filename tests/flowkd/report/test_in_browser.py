"""Pages as a real browser lays them out: wide, narrow, dark; nothing is empty or sticks out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowkd.report.drawn_pictures import DrawnPictures
from flowkd.report.page import render
from tests.flowkd.report.test_page import ROLES, pixels, records, report
from tests.flowkd.report.test_tables import table

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")

LOOK = """<script>addEventListener("load", () => {
  const frame = document.documentElement;
  const size = each => { const box = each.getBoundingClientRect();
    return [each.getAttribute("aria-label") || each.alt, box.width, box.height, box.right]; };
  const found = {
    inner: innerWidth, page: frame.scrollWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    svg: [...document.querySelectorAll("main svg")].map(size),
    img: [...document.querySelectorAll("main img")].map(each => [...size(each), each.naturalWidth]),
    headings: [...document.querySelectorAll("h2")].map(each => each.textContent),
  };
  const said = document.createElement("pre");
  said.id = "found"; said.textContent = JSON.stringify(found); document.body.append(said);
});</script></body>"""


def seen(page: str, folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """What a browser of some width makes of a page."""
    file = folder / "page.html"
    file.write_text(page.replace("</body>", LOOK), encoding="utf-8")
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    values: dict[str, Any] = json.loads(unescape(found[1]))
    return values


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


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (500, True)])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_in_a_browser(name: str, width: int, dark: bool, tmp_path: Path) -> None:
    found = seen(render(PAGES[name]), tmp_path, width, dark)
    assert found["page"] <= found["inner"], "it scrolls to the side"
    assert found["headings"] == [*HEADINGS[name], "Ask it", "How it was made"]
    for label, wide, high, right, *natural in [*found["svg"], *found["img"]]:
        assert wide > 80, label
        assert high > 40, label
        assert right <= found["inner"], label
        assert all(natural), label
    red = int(re.findall(r"\d+", found["paper"])[0])
    assert (red < 60) == dark
