"""Properties of the report: it stands alone, tells the truth, and shows the very pixels."""

import base64
import io
import json
import math
import re
import shlex
from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from flowkd.distillation.schedules import LossWeights
from flowkd.evaluation.figures import FlowFigures
from flowkd.predict.requests import SampleRequest
from flowkd.report.comparison import ROLES, comparison_headline
from flowkd.report.drawn_pictures import DrawnPictures
from flowkd.report.page import TERMS, Report, render
from flowkd.report.plots import png_grid
from flowkd.report.style import VARIABLES
from tests.support.pages import Page, assert_stands_alone

HOSTILE = "</pre></title><script>alert('\"x&')</script><img src=http://evil/x onerror=y>$\\frac{1}$"
ENDPOINT = "http://127.0.0.1:8000/v1/models/photos"


def figures(teacher=3.3, plain=3.5, distilled=3.4):
    large = FlowFigures("runs/teacher", teacher, 0.01, 400_000, 1000.0, 900.0, 1800, 2e-6)
    small = replace(large, parameters=96_000, log_prob_per_second=5100.0)
    return {
        "teacher": large,
        "plain": replace(small, reference="runs/plain", bits_per_dim=plain),
        "distilled": replace(small, reference="runs/distilled", bits_per_dim=distilled),
    }


def records(count=40):
    return [
        {"step": step, "loss": 2.0 + 1 / step, "validation_bits_per_dim": 3.0 + 1 / step}
        | dict.fromkeys(TERMS, 50.0 / step**2)
        for step in range(1, count + 1)
    ]


def pixels(channels=3, count=7):
    generator = np.random.default_rng(channels)
    return generator.integers(0, 256, (count, channels, 6, 8), dtype=np.uint8)


def report(**changes):
    """A whole report, without the curves that take time to draw."""
    quick = Report(
        title="a run",
        figures=figures(),
        published="distilled",
        curves={},
        pictures=DrawnPictures({"test pictures": pixels(), "samples": pixels(1)}),
        configs={role: f"name: {role}\n" for role in ROLES},
        facts={"data set": "photos", "seconds": "400"},
        endpoint=ENDPOINT,
        model="models/photos@1",
    )
    return replace(quick, **changes)


def test_the_page_says_which_weights_are_kept_and_what_a_training_warns_of():
    overfit = [
        {"step": 10, "validation_bits_per_dim": 213.0},
        {"step": 20, "validation_bits_per_dim": 405.0, "warning": "validation has <risen>"},
    ]
    page = render(report(curves={"teacher": overfit, "plain": records(4)}))
    assert "teacher: the weights of step 10 of 20 are kept, at 213.000 bits/dim" in page
    assert "plain: the weights of step 4 of 4 are kept, at 3.250 bits/dim" in page
    assert "The teacher flow's training warns:</b> validation has &lt;risen&gt;." in page
    assert page.count("training warns") == 1


REPORTS = {
    "whole": report(curves={role: records() for role in ROLES}),
    "not served": report(endpoint=None),
    "table": report(pictures=DrawnPictures()),
    "nothing more": report(configs={}, facts={}),
    "empty records": report(curves={role: [] for role in ROLES}),
    "one record": report(curves={"distilled": records(1)}),
    "not finite": report(
        curves={"distilled": [{"step": 1, "nll": math.nan}, {"step": 2, "nll": math.inf}]},
        figures=figures(plain=math.nan),
    ),
    "long": report(curves={role: records(3000) for role in ROLES}),
    "hostile": report(
        title=HOSTILE,
        pictures=DrawnPictures(*[{HOSTILE: pixels()}] * 3),
        likelihoods={HOSTILE: {HOSTILE: np.ones(3)}},
        configs={HOSTILE: HOSTILE, "plain": HOSTILE},
        facts={HOSTILE: HOSTILE},
        endpoint="javascript:alert(1)//" + HOSTILE,
        model=HOSTILE,
    ),
}


@pytest.fixture(scope="module", params=REPORTS)
def html(request):
    return render(REPORTS[request.param])


@pytest.fixture(scope="module")
def whole():
    return render(REPORTS["whole"])


def test_stands_alone_and_is_well_formed(html):
    assert_stands_alone(html, links="https?://127.0.0.1:8000/")


def test_hostile_text_is_shown_as_it_is():
    page = Page(render(REPORTS["hostile"]))
    assert page.text.count(HOSTILE) >= 8
    assert HOSTILE in page.attributes("alt")


def test_equal_reports_give_equal_pages(whole):
    with matplotlib.rc_context({"xtick.major.size": 20, "axes.labelsize": 30}):
        mine = dict(matplotlib.rcParams)
        assert render(REPORTS["whole"]) == whole
        assert dict(matplotlib.rcParams) == mine


def test_plots_take_their_colours_from_the_page(whole):
    defined = set(re.findall(r"(--[\w-]+):", whole))
    assert set(re.findall(r"var\((--[\w-]+)\)", whole)) <= defined
    assert not any(color in whole for color in VARIABLES)


def test_pictures_decode_to_the_very_pixels():
    page = Page(render(report()))
    sources = page.attributes("src")
    for source, images in zip(sources, (pixels(), pixels(1)), strict=True):
        png = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        assert_shows(np.asarray(Image.open(io.BytesIO(png))), images, columns=3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("columns", [1, 3, 7, 100])
def test_grid_of_pictures(channels, columns):
    images = pixels(channels)
    before = images.copy()
    grid = np.asarray(Image.open(io.BytesIO(png_grid(images, columns))))
    assert_shows(grid, images, min(columns, len(images)))
    assert (images == before).all()


def assert_shows(grid, images, columns):
    for place, image in enumerate(images):
        top, left = place // columns * 7, place % columns * 9
        cell = grid[top : top + 6, left : left + 8]
        assert (cell[..., :3] == image.transpose(1, 2, 0)).all()
        assert (cell[..., 3] == 255).all()
    assert (grid[..., 3] == 255).sum() == images[:, 0].size  # all else is transparent


@pytest.mark.parametrize(
    ("images", "columns"),
    [
        (pixels().astype(np.float32), 2),
        (pixels(2), 2),
        (pixels()[0], 2),
        (pixels()[:0], 2),
        (pixels(), 0),
    ],
)
def test_what_is_no_picture_is_refused(images, columns):
    with pytest.raises(ValueError, match=re.escape(f"{images.shape} and {columns} columns")):
        png_grid(images, columns)


SAVING = "24% of the teacher's parameters"
HEADLINES = {
    "closes some": (figures(), ["distilled student has " + SAVING, "5.1 times", "closes 50%"]),
    "nearly all": (figures(distilled=3.3001), ["closes 99%"]),
    "nearly nothing": (figures(distilled=3.4999), ["closes less than 1%"]),
    "beats the teacher": (figures(distilled=3.2), ["distilled", "at least as good as the teacher"]),
    "harms": (figures(distilled=3.52), ["did not help", "widened", "10%", "The plain student is"]),
    "changes nothing": (figures(distilled=3.5), ["did not help", "equally good; the plain one"]),
    "no gap": (figures(plain=3.2), ["no gap to close", "3.200", "3.300", "The plain student is"]),
    "no gap, distilled": (figures(3.3, 3.3, 3.1), ["no gap to close", "The distilled student is"]),
    "not finite": (figures(distilled=math.nan), ["No comparison", "distilled nan"]),
}


@pytest.mark.parametrize("case", HEADLINES)
def test_headline_tells_the_truth(case):
    compared, expected = HEADLINES[case]
    sentence = comparison_headline(compared)
    assert all(part in sentence for part in expected), sentence
    helped = case in ("closes some", "nearly all", "nearly nothing")
    assert ("closes" in sentence) == helped


def test_headline_without_a_rate_claims_none():
    slow = figures()
    slow["teacher"] = replace(slow["teacher"], log_prob_per_second=0.0)
    assert "times as fast" not in comparison_headline(slow)


def test_figures_in_the_table():
    text = " ".join(Page(render(report())).text.split())
    assert comparison_headline(figures()) in text
    for shown in ("3.400± 0.010", "96,00024%", "5,1005.1x", "9001.0x", "1,800", "2.0e-06"):
        assert shown in text
    assert "distilledpublished" in text


def test_what_is_known_of_samples_is_shown_with_its_interval():
    assert "C2ST" not in Page(render(report())).text
    known = figures()
    found = SimpleNamespace(value=0.5514, low=0.5381, high=0.5648)
    for role, measured in (("teacher", {}), ("distilled", {"c2st_auc": found})):
        object.__setattr__(known[role], "quality", SimpleNamespace(figures=measured))
    text = " ".join(Page(render(report(figures=known))).text.split())
    assert "C2ST AUC" in text
    assert "0.5510.538 to 0.565" in text


def test_commands_survive_a_shell():
    address = "http://127.0.0.1:8000/v1/models/it's $HOME"
    text = Page(render(report(endpoint=address))).text
    commands = [shlex.split(part) for part in re.findall(r"curl(?:.*\\\n)*.*", text)]
    assert [command[1] for command in commands] == [
        f"{address}/sample",
        f"{address}/sample",
        f"{address}/log_prob",
    ]
    for command in commands[:2]:
        SampleRequest(**json.loads(command[command.index("-d") + 1]))
    assert "make down" in text


def test_what_there_is_not_is_not_promised():
    assert "curl" in render(report())
    assert "curl" not in render(report(endpoint=None))
    table = render(report(pictures=DrawnPictures()))
    assert "image/png' " not in table
    assert "<h2>Pictures" not in table
    assert "<h2>Learning" not in render(report())


def test_every_term_has_a_plot(whole):
    assert set(TERMS) == set(LossWeights.model_fields)
    assert all(f"<b>{term}</b>" in whole for term in TERMS)


def test_flows_of_any_names_are_compared_with_the_first():
    two = figures()
    ours = {"large": two["teacher"], "small": two["distilled"]}
    curves = {"large": records(3), "small": records(3)}
    page = Page(render(report(figures=ours, published=None, model=None, curves=curves)))
    text = " ".join(page.text.split())
    assert "small has 24% of large's parameters" in text
    assert "at 0.100 bits per dimension more." in text
    assert "share of large's" in text
    assert "Not published yet" in text
    alone = render(report(figures={"large": two["teacher"]}, published=None, model=None))
    assert "large has 3.300 bits per dimension with 400,000 parameters." in alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"figures": {}}, "got none"),
        ({"published": "best"}, "got 'best'"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        render(report(**change))
