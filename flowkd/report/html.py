"""Renders self-contained HTML pages in one style, from jinja2 templates."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).parent


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
