"""Pages as a browser would take them, and what holds of each of them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A page as a browser would take it: its elements, their attributes and all text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def assert_stands_alone(html, links="nowhere"):
    """It is well formed, its identifiers are its own, and only anchors lead elsewhere: to links."""
    page = Page(html)
    anchors = [attrs.get("href") for tag, attrs in page.elements if tag == "a"]
    assert all(re.match(links, anchor) for anchor in anchors)
    sources = [*page.attributes("src"), *page.attributes("xlink:href"), *page.attributes("href")]
    assert all(re.match("data:image/png|#", source) for source in sources if source not in anchors)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object"}
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    style = html[: html.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style
    assert len(html) < 1_000_000
    identifiers = page.attributes("id")
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', html))
    assert len(identifiers) == len(set(identifiers))
    assert {one or other for one, other in used} <= set(identifiers)
    defined = set(re.findall(r"(--[\w-]+):", html))
    assert set(re.findall(r"var\((--[\w-]+)\)", html[len(style) :])) <= defined
    return page
