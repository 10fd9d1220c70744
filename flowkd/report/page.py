"""The self-contained HTML report on a teacher and its students."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from markupsafe import Markup

from flowkd.evaluation.compare import FlowFigures
from flowkd.report.caveats import few_groups, held_out
from flowkd.report.comparison import ROLES, by_role, comparison_headline, comparison_table
from flowkd.report.html import render_page
from flowkd.report.plots import Curve, curves_plot, likelihood_plot, png_grid
from flowkd.training.outcome import summary_of

TERMS = {
    "nll": "negative log-likelihood of the data, nats per dimension",
    "samples": "negative log-likelihood of the teacher's samples, nats per dimension",
    "density": "mean squared difference from the teacher's log-density, per dimension",
    "latent": "mean squared distance to the teacher's latents",
    "hints": "mean squared distance to the teacher's states at the hints",
    "log_det": "mean squared difference from the teacher's log-determinants, per dimension",
    "synthesis": "mean absolute distance to the teacher's samples",
}

# Grids are shown as large as whole multiples of their pixels allow: these are CSS pixels.
GRID_WIDTH, NARROW_GRID_WIDTH = 336, 164


@dataclass(frozen=True)
class Report:
    """The content of the page.

    Attributes:
        title: Title of the page.
        figures: Figures of `teacher`, `plain` and `distilled`, on held-out data.
        published: Name of the one that is published.
        curves: Metrics records of each run, as `read_log` returns them.
        pictures: uint8 levels 0..255, (N, C, H, W), by caption; empty for tables. The samples
            should come from the same latents, for the page says so.
        configs: Configs as YAML, by run.
        facts: Where the figures come from: data set, commit, versions, duration.
        endpoint: Address of the served model, `http://HOST:PORT/v1/models/NAME`; None if it is
            not served.
        model: Reference that it is published under, such as `models/photos@3`.
    """

    title: str
    figures: Mapping[str, FlowFigures]
    published: str
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    pictures: Mapping[str, np.ndarray | None]
    configs: Mapping[str, str]
    facts: Mapping[str, str]
    endpoint: str | None
    model: str


class _Plot(NamedTuple):
    name: str
    caption: str
    svg: Markup


class _Picture(NamedTuple):
    caption: str
    png: str
    width: int
    scale: int
    narrow_scale: int


def render(report: Report) -> str:
    """Returns the page; equal reports give equal pages.

    Raises:
        ValueError: Figures of other flows than ROLES, another flow published, or pictures that
            are none.
    """
    figures = by_role(report.figures)
    if report.published not in figures:
        raise ValueError(f"expected one of {ROLES} as published; got {report.published!r}")
    pictures = {caption: each for caption, each in report.pictures.items() if each is not None}
    return render_page(
        Path(__file__).with_name("report.html"),
        title=report.title,
        headline=comparison_headline(figures),
        report=report,
        learning=_learning_plot(report.curves),
        outcomes={role: summary_of(report.curves.get(role, ())) for role in ROLES},
        terms=_term_plots(report.curves.get("distilled", ())),
        pictures=[_picture(caption, images) for caption, images in pictures.items()],
        docs=_docs_address(report.endpoint or ""),
        **comparison_values(figures, report.published),
    )


def comparison_values(figures: Mapping[str, FlowFigures], published: str | None) -> dict[str, Any]:
    """Returns the variables of `comparison.html`: the figures, and which flow is published."""
    return {
        "figures": figures,
        "published": published,
        "rows": comparison_table(figures),
        "held_out": held_out(figures),
        "few": few_groups(figures),
        "likelihood": Markup(likelihood_plot(figures)),
    }


def _learning_plot(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Markup | None:
    validated = {role: _curve(curves.get(role, ()), "validation_bits_per_dim") for role in ROLES}
    if not any(validated.values()):
        return None
    description = "Bits per dimension on the validation split against the training step"
    return Markup(curves_plot(validated, name="validation", description=description))


def _term_plots(records: Sequence[Mapping[str, Any]]) -> list[_Plot]:
    plots = []
    for term, meaning in TERMS.items():
        if curve := _curve(records, term):
            # Others' places stay empty: it keeps the distilled student's colour.
            curves: dict[str, Curve] = {**dict.fromkeys(ROLES, ()), "distilled": curve}
            description = f"{term}, {meaning}, against the training step"
            svg = curves_plot(curves, name=f"term-{term}", description=description)
            plots.append(_Plot(term, meaning, Markup(svg)))
    return plots


def _curve(records: Sequence[Mapping[str, Any]], key: str) -> Curve:
    return [(record["step"], record[key]) for record in records if key in record]


def _picture(caption: str, images: np.ndarray) -> _Picture:
    columns = math.ceil(math.sqrt(len(images)))
    png = base64.b64encode(png_grid(images, columns)).decode()
    width = columns * (images.shape[-1] + 1) - 1
    scale, narrow_scale = (max(1, most // width) for most in (GRID_WIDTH, NARROW_GRID_WIDTH))
    return _Picture(caption, png, width, scale, narrow_scale)


def _docs_address(endpoint: str) -> str | None:
    address = urlsplit(endpoint)
    known = address.scheme in ("http", "https") and address.netloc
    return f"{address.scheme}://{address.netloc}/docs" if known else None
