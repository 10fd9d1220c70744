"""What likelihood costs: the front is told, and drawn."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from flowkd.report.page import render
from flowkd.report.trade import trades
from tests.flowkd.report.test_page import figures, report
from tests.support.pages import Page


def test_each_cost_has_a_plot_that_tells_which_flows_are_not_beaten() -> None:
    found = {trade.name: trade.svg for trade in trades(figures())}
    assert list(found) == ["parameters", "log_prob/s", "samples/s"]
    assert "smaller than teacher and distilled, but than plain" in found["parameters"]
    assert "faster than teacher and distilled, but than plain" in found["log_prob/s"]
    assert "faster than teacher, but than plain and distilled" in found["samples/s"]  # all as fast


def test_filled_marks_are_on_the_front() -> None:
    svg = trades(figures())[0].svg
    assert set(re.findall(r"fill: var\(--series-(\d)\)", svg)) == {"1", "3"}


@pytest.mark.parametrize("rate", [0.0, math.nan, math.inf])
def test_what_cannot_be_drawn_is_left_out(rate: float) -> None:
    odd = {
        label: replace(flow, samples_per_second=rate, parameters=10 ** (3 * place + 2))
        for place, (label, flow) in enumerate(figures().items())
    }
    assert [trade.name for trade in trades(odd)] == ["parameters", "log_prob/s"]
    assert trades({"alone": figures()["teacher"]}) == []
    assert trades(figures(plain=math.nan, distilled=math.nan)) == []


def test_the_page_has_them() -> None:
    page = Page(render(report()))
    assert "What it costs" in page.text
    spoken = page.attributes("aria-label")
    assert sum("no other flow is both likelier" in each for each in spoken) == 3
