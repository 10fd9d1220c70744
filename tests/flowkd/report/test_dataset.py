"""Properties of a data set's preview: bounded in size, and what it leaves out is said."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from flowkd.data.manifest import Manifest
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.report.dataset import PANELS, dataset_preview


@pytest.fixture
def drawn(memory_store, monkeypatch):
    """Previews a table of some columns: the PNG's size, and all text on it."""
    said = []
    save = Figure.savefig

    def saved(figure, *arguments, **options):
        titles = [axes.get_title() for axes in figure.axes]
        said.extend([figure.get_suptitle(), *(title for title in titles if title)])
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", saved)

    def of(columns, **options):
        x = np.random.default_rng(0).normal(size=(30, len(columns))).astype(np.float32)
        manifest: Manifest = write_dataset(
            memory_store, "t", dict.fromkeys(("train", "val", "test"), SplitArrays(x)),
            kind="table", columns=columns, source="a test", **options,
        )  # fmt: skip
        said.clear()
        size = Image.open(io.BytesIO(dataset_preview(memory_store, manifest))).size
        return size, list(said)

    return of


def test_a_table_of_many_columns_has_no_more_panels_than_can_be_read(drawn):
    (width, height), (title, *panels) = drawn([f"x{number}" for number in range(400)])
    assert panels == [f"x{number}" for number in range(PANELS)]
    assert f"the first {PANELS} of 400 columns; not shown: x{PANELS} to x399" in title
    assert max(width, height) < 2500


def test_a_table_of_few_columns_shows_all_with_their_units_whatever_they_are_called(drawn):
    names = ["ra", "n [/cm3]", "$x", "a" * 100]
    _, (title, *panels) = drawn(names, units={"ra": "deg"})
    assert panels[:3] == ["ra [deg]", "n [/cm3]", "$x"]
    assert panels[3].startswith("aaaa")
    assert len(panels[3]) < 30
    assert "not shown" not in title
