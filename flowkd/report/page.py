"""The self-contained HTML report on a teacher and its students."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from markupsafe import Markup

from flowkd.evaluation.figures import FlowFigures
from flowkd.report.caveats import few_groups, held_out
from flowkd.report.comparison import comparison_headline, comparison_table, in_order
from flowkd.report.curves import Curve, curves_plot
from flowkd.report.drawn import TableRows
from flowkd.report.drawn_pictures import STEPS, TEMPERATURE, DrawnPictures
from flowkd.report.html import marked, render_page
from flowkd.report.likelihoods import Bits, likelihood_histograms
from flowkd.report.pairs import PAIRED, pair_plots
from flowkd.report.plots import likelihood_plot, png_grid
from flowkd.report.tables import marginals
from flowkd.report.trade import trades
from flowkd.training.outcome import summary_of

TERMS = {
    "nll": "negative log-likelihood of the data, nats per dimension",
    "samples": "negative log-likelihood of the teacher's samples, nats per dimension",
    "density": "mean squared difference from the teacher's log-density, per dimension",
    "latent": "mean squared distance to the teacher's latents",
    "hints": "mean squared distance to the teacher's states at the hints",
    "log_det": "mean squared difference from the teacher's log-determinants, per dimension",
    "synthesis": "mean absolute distance to the teacher's samples",
    "data_cycle": "mean square distance of data from their way through teacher and student",
    "noise_cycle": "mean square distance of noise from its way through student and teacher",
    "cycle_hints": "mean square distance of the states on those ways",
    "reverse_kl": "divergence from the teacher on the student's samples, nats per dimension",
}

Records = Sequence[Mapping[str, Any]]

# Grids are shown as large as whole multiples of their pixels allow: these are CSS pixels.
GRID_WIDTH, NARROW_GRID_WIDTH = 336, 164


@dataclass(frozen=True)
class Report:
    """The content of the page.

    Attributes:
        title: Title of the page.
        figures: Figures of flows on held-out data, as a rule `teacher`, `plain` and `distilled`.
        published: Name of the one that is published; None for none.
        curves: Metrics records of each run, as `read_log` returns them.
        pictures: What flows draw, if it is pictures; none of a table. The samples should come from
            the same latents, for the page says so.
        table: Rows of a table beside samples of each flow; None for pictures.
        headline: Its message, in place of one on its figures; needed where there are none.
        advice: What to do next, a few sentences each; default nothing.
        likelihoods: Bits per dimension of rows by flow, then by what they are rows of.
        configs: Configs as YAML, by run.
        facts: Where the figures come from: data set, commit, versions, duration.
        endpoint: Address of the served model, `http://HOST:PORT/v1/models/NAME`; None if it is
            not served.
        model: Reference that it is published under, such as `models/photos@3`; None for none.
    """

    title: str
    figures: Mapping[str, FlowFigures]
    published: str | None
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    configs: Mapping[str, str]
    facts: Mapping[str, str]
    endpoint: str | None
    model: str | None
    pictures: DrawnPictures = field(default_factory=DrawnPictures)
    table: TableRows | None = None
    likelihoods: Mapping[str, Bits] = field(default_factory=dict)
    advice: Sequence[str] = ()
    headline: str | None = None


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
        ValueError: No figures and no headline, another flow published, or pictures that are none.
    """
    if not report.figures and report.headline is None:
        raise ValueError("expected figures of at least one flow, or a headline; got none")
    figures = in_order(report.figures)
    if report.published is not None and report.published not in figures:
        raise ValueError(f"expected one of {tuple(figures)} as published; got {report.published!r}")
    curves = {label: report.curves.get(label, ()) for label in figures or report.curves}
    return render_page(
        Path(__file__).with_name("report.html"),
        title=report.title,
        headline=report.headline or comparison_headline(figures),
        report=report,
        advice=[marked(words) for words in report.advice],
        trades=trades(figures),
        learning=_learning_plot(curves),
        outcomes={label: summary_of(records) for label, records in curves.items()},
        terms=_term_plots(curves),
        pictures=[_picture(*each) for each in report.pictures.samples.items()],
        errors=[_picture(*each) for each in report.pictures.errors.items()],
        between=[_picture(*each, STEPS) for each in report.pictures.between.items()],
        temperature=TEMPERATURE,
        likelihoods=likelihood_histograms(report.likelihoods),
        marginals=marginals(report.table) if report.table else [],
        pairs=pair_plots(report.table) if report.table else [],
        paired=PAIRED,
        columns=report.table.data.shape[1] if report.table else 0,
        docs=_docs_address(report.endpoint or ""),
        **(comparison_values(figures, report.published) if figures else {"figures": {}}),
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


def _learning_plot(curves: Mapping[str, Records]) -> Markup | None:
    validated = {label: _curve(each, "validation_bits_per_dim") for label, each in curves.items()}
    if not any(validated.values()):
        return None
    description = "Bits per dimension on the validation split against the training step"
    return Markup(curves_plot(validated, name="validation", description=description))


def _term_plots(curves: Mapping[str, Records]) -> list[_Plot]:
    plots = []
    for term, meaning in TERMS.items():
        found = {label: _curve(records, term) for label, records in curves.items()}
        if any(found.values()):
            description = f"{term}, {meaning}, against the training step"
            svg = curves_plot(found, name=f"term-{term}", description=description)
            plots.append(_Plot(term, meaning, Markup(svg)))
    return plots


def _curve(records: Records, key: str) -> Curve:
    return [(record["step"], record[key]) for record in records if key in record]


def _picture(caption: str, images: np.ndarray, columns: int | None = None) -> _Picture:
    columns = columns or math.ceil(math.sqrt(len(images)))
    png = base64.b64encode(png_grid(images, columns)).decode()
    width = columns * (images.shape[-1] + 1) - 1
    scale, narrow_scale = (max(1, most // width) for most in (GRID_WIDTH, NARROW_GRID_WIDTH))
    return _Picture(caption, png, width, scale, narrow_scale)


def _docs_address(endpoint: str) -> str | None:
    address = urlsplit(endpoint)
    known = address.scheme in ("http", "https") and address.netloc
    return f"{address.scheme}://{address.netloc}/docs" if known else None
