"""Renders self-contained HTML pages in one style, from jinja2 templates."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

HERE = Path(__file__).parent


def marked(words: str) -> Markup:
    """Returns words as HTML: between backticks as code, between two asterisks or one stressed.

    >>> marked("`a < b` is **not** *so*")
    Markup('<code>a &lt; b</code> is <b>not</b> <i>so</i>')
    """
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words)))
    found = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", found)
    return Markup(re.sub(r"(?<!\w)\*([^*\s][^*]*)\*(?!\w)", r"<i>\1</i>", found))


def render_page(template: Path, *, title: str, headline: str, **values: Any) -> str:
    """Returns a page; whatever text it shows is escaped, unless it is Markup.

    Args:
        template: Path of a template that extends `page.html` and fills its block `main`; what it
            includes lies beside it or beside this module.
        title: Title of the page.
        headline: Its message, in a sentence.
        **values: Values of the template's variables.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shell"] = shlex.quote
    page = environment.get_template(template.name)
    return page.render(title=title, headline=headline, **values)
