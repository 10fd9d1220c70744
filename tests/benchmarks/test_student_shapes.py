"""Shapes that `make bench-shapes` compares, and its page."""

from __future__ import annotations

import pytest

from benchmarks.student_shapes import BATCHES, LANES, SHARE, TEACHER, described, document, shapes
from flowkd.flows.build import build_flow, count_parameters


def test_shapes_have_a_quarter_of_the_parameters_and_could_not_be_wider() -> None:
    most = SHARE * count_parameters(build_flow(TEACHER))
    for name, config in shapes().items():
        assert count_parameters(build_flow(config)) <= most, name
        if name != "default":
            assert isinstance(config.width, int)
            wider = config.model_copy(update={"width": config.width + LANES})
            assert count_parameters(build_flow(wider)) > most, name


@pytest.mark.parametrize("ratio", [3.0, 5.0])
def test_the_page_tells_each_shape_and_how_the_default_did(ratio: float) -> None:
    faster = {str(rows): {"log_prob": ratio, "sample": ratio + 1} for rows in BATCHES}
    found = {
        name: {**described(config), "faster": faster, "bits_per_dim": 4.567}
        for name, config in shapes().items()
    }
    about = {"date": "today", "torch": "2", "cpu": "a CPU", "load": 0.5}
    page = document({**about, "shapes": found})
    assert f"{ratio:.1f} to {ratio + 1:.1f} times" in page
    for name, shape in found.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
        assert f"| {shape['share']:.0%} | {ratio:.2f} |" in row
        assert row.endswith("| 4.567 |")
