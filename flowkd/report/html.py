"""One look for all of the project's pages, each of which needs no network and no other file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).parent


def render_page(template: Path, *, title: str, headline: str, **values: Any) -> str:
    """Returns a page; whatever text it shows is escaped, unless it is Markup.

    Args:
        template: Extends `page.html`, and fills its block `main`; what it includes lies beside it
            or beside this module.
        title: Of the page.
        headline: What it says, in a sentence.
        **values: What the template names.
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
