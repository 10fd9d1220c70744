"""A table's page shows its columns beside what flows draw, in its own words and units."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from flowkd.report.drawn import TableRows
from flowkd.report.drawn_pictures import DrawnPictures
from flowkd.report.page import render
from flowkd.report.pairs import GAP, PAIRED, pair_plots, paired_columns
from flowkd.report.tables import MARGINALS, marginals, shown_columns
from tests.flowkd.report.test_page import HOSTILE, report
from tests.support.pages import Page, assert_stands_alone


def table(columns: int = 3, rows: int = 400, **shifts: float) -> TableRows:
    """Rows of a table, and of flows that are off by so much in the last column."""
    x = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    flows = {label: x.copy() for label in shifts or {"teacher": 0.0}}
    for label, shift in shifts.items():
        flows[label][:, -1] += shift
    return TableRows([f"c{number} [km]" for number in range(columns)], x, flows)


def test_each_column_is_named_with_its_unit_and_each_flow_is_shown_once() -> None:
    shown = table(teacher=0.0, plain=0.1, distilled=0.0)
    page = assert_stands_alone(
        render(report(pictures=DrawnPictures(), table=shown)), links="https?://127.0.0.1"
    )
    assert all(page.texts.count(name) == 1 + 4 for name in shown.names)  # marginal, and pairs
    spoken = page.attributes("aria-label")
    for label in ("data", "teacher", "plain", "distilled"):
        assert sum(f"Pair plot of {label}:" in each for each in spoken) == 1
    assert "from the same latents z" in " ".join(page.text.split())


def test_names_are_shown_as_they_are() -> None:
    rows = table(2)
    shown = TableRows([HOSTILE, "$\\frac{1}$"], rows.data, rows.flows)
    page = Page(render(report(pictures=DrawnPictures(), table=shown)))
    assert HOSTILE in page.texts
    assert not [tag for tag, _ in page.elements if tag == "script"]


def test_what_lies_beyond_a_frame_is_told() -> None:
    near, far = marginals(table(2, teacher=0.0, plain=100.0))
    assert near.note == ""
    assert far.note == "100.0% of plain beyond"


def test_samples_that_are_not_finite_are_left_out_of_the_plots() -> None:
    rows = table(2, teacher=np.inf, plain=np.nan)
    assert [each.note for each in marginals(rows)] == [
        "", "100.0% of teacher, 100.0% of plain beyond",
    ]  # fmt: skip
    assert "nan" not in "".join(each.svg for each in pair_plots(rows))


def test_of_many_columns_those_are_shown_that_the_last_flow_meets_worst() -> None:
    assert shown_columns(table(MARGINALS)) == list(range(MARGINALS))
    many = table(MARGINALS + 5, teacher=0.0, distilled=3.0)
    found = shown_columns(many)
    assert len(found) == MARGINALS
    assert MARGINALS + 4 in found
    page = render(report(pictures=DrawnPictures(), table=many))
    assert f"{MARGINALS} of {MARGINALS + 5} columns that the last flow meets worst" in page


def test_the_columns_that_correlate_most_are_paired() -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(500, 12))
    related = [1, 3, 4, 7, 9, 11]
    x[:, related] += 3 * draw.normal(size=(500, 1))
    x[:, 5] = 2.0  # a constant column correlates with nothing
    x[0, [0, 2]] = 1e6  # nor do two columns correlate for one row that is far from all others
    assert paired_columns(x) == related
    assert len(paired_columns(x)) == PAIRED


@pytest.mark.parametrize("columns", [2, 3, 6])
def test_a_pair_is_where_its_names_say_and_the_right_way_up(columns: int) -> None:
    x = np.linspace(0, 1, 300)[:, None].repeat(columns, 1).astype(np.float32)
    x[:, 0] = x[:, 0] ** 8  # mostly at its low end, where the others still are
    rows = TableRows([f"c{number}" for number in range(columns)], x, {})
    picture = _picture(pair_plots(rows)[0].svg)
    cell = (len(picture) + GAP) // columns - GAP
    for row in range(columns):
        for column in range(columns):
            top, left = row * (cell + GAP), column * (cell + GAP)
            part = picture[top : top + cell, left : left + cell]
            assert part.any() == (column < row)
            if column < row:
                half = cell // 2
                assert part[half:, :half].any(), "low values lie below, to the left"
                assert not part[half:, half:].any()
                assert part[:half, :half].any() == (column == 0)


def _picture(svg: str) -> np.ndarray:
    found = re.search(r"base64,([^\"]+)", svg)
    assert found
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))
