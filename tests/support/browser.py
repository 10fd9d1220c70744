"""What a real browser, Chromium, makes of a page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium")

# Within a frame of the asked width: a window cannot be as narrow as a phone.
LOOK = """<script>addEventListener("load", () => {
  const frame = document.documentElement;
  const size = each => { const box = each.getBoundingClientRect();
    return [each.getAttribute("aria-label") || each.alt, box.width, box.height, box.right]; };
  const boxes = text => { const box = text.getBoundingClientRect();
    return [text.textContent, box.left, box.top, box.right, box.bottom]; };
  const found = {
    inner: innerWidth, page: frame.scrollWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    svg: [...document.querySelectorAll("main svg")].map(size),
    img: [...document.querySelectorAll("main img")].map(each => [...size(each), each.naturalWidth]),
    headings: [...document.querySelectorAll("h2")].map(each => each.textContent),
    text: document.body.innerText,
    words: Object.fromEntries([...document.querySelectorAll("main svg")].map(
      each => [each.getAttribute("aria-label"), [...each.querySelectorAll("text")].map(boxes)])),
  };
  parent.postMessage(JSON.stringify(found), "*");
});</script></body>"""
WINDOW = """<!doctype html><body style="margin: 0"><iframe style="border: 0; width: %dpx;
height: 900px" srcdoc="%s"></iframe><script>addEventListener("message", event => {
  const said = document.createElement("pre");
  said.id = "found"; said.textContent = event.data; document.body.append(said);
});</script></body>"""


def seen(page: str, folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """What a browser of some width makes of a page.

    `inner` and `page`, its width and that of all it shows; `paper`, its colour; `svg` and `img`,
    each with label, width, height and right edge; `headings`; `text`; and `words` of each plot by
    its label, with their boxes.
    """
    file = folder / "page.html"
    framed = escape(page.replace("</body>", LOOK))
    file.write_text(WINDOW % (width, framed), encoding="utf-8")
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={folder / 'profile'}", "--window-size=1300,1000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom",
            "--virtual-time-budget=20000", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    values: dict[str, Any] = json.loads(unescape(found[1]))
    return values


def assert_whole(found: dict[str, Any], dark: bool) -> None:
    """Nothing is empty or sticks out, and it is as dark as was asked for."""
    assert found["page"] <= found["inner"], "it scrolls to the side"
    for label, wide, high, right, *natural in [*found["svg"], *found["img"]]:
        assert wide > 80, label
        assert high > 40, label
        assert right <= found["inner"], label
        assert all(natural), label
    red = int(re.findall(r"\d+", found["paper"])[0])
    assert (red < 60) == dark


def overlapping(words: list[tuple[str, float, float, float, float]]) -> list[tuple[str, str]]:
    """Pairs of a plot's words that lie on each other by more than a few pixels."""
    found = []
    for place, (one, left, top, right, bottom) in enumerate(words):
        for other, left_, top_, right_, bottom_ in words[place + 1 :]:
            across = min(right, right_) - max(left, left_)
            down = min(bottom, bottom_) - max(top, top_)
            if across > 3 and down > 4:
                found.append((one, other))
    return found
