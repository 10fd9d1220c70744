"""The journeys: data as their owners have them, and the page of what came out."""

import numpy as np
import pyarrow.csv
import pytest
from PIL import Image

from benchmarks import journeys, journeys_page
from flowkd.data.importers.photos import photographs


def test_the_stars_are_those_of_the_catalogue(tmp_path):
    table = pyarrow.csv.read_csv(tmp_path / journeys.write_stars(tmp_path))
    assert table.num_rows == 482_176
    assert table.column_names == list(journeys.GAIA_FIELDS)
    ra, dec = (np.asarray(table[name]) for name in ("ra", "dec"))
    assert 0 <= ra.min() < ra.max() < 360
    assert -90 <= dec.min() < dec.max() <= 90


def test_the_photographs_are_in_a_folder_as_they_are(tmp_path):
    folder = tmp_path / journeys.write_photos(tmp_path)
    known = photographs()
    assert {path.stem for path in folder.iterdir()} == set(known)
    coffee = np.asarray(Image.open(folder / "coffee.png"))
    assert np.array_equal(coffee.transpose(2, 0, 1), known["coffee"])


def test_the_page_knows_the_journeys():
    assert set(journeys_page.NAMES) == set(journeys.JOURNEYS)


@pytest.mark.parametrize(("distilled", "share"), [(1.2, "80%"), (1.9, "10%")])
def test_the_page_tells_the_share_and_what_the_report_says(distilled, share):
    def flow(bits, parameters, rate):
        return {
            "reference": "runs/r", "bits_per_dim": bits, "standard_error": 0.01, "steps": 100,
            "parameters": parameters, "log_prob_per_second": rate, "samples_per_second": 2 * rate,
            "round_trip": 1e-6, "split": "test", "by_group": None,
        }  # fmt: skip

    advice = [] if distilled < 1.5 else ["Ask for a smaller student."]
    journey = {
        "about": "rows of somebody's", "commands": ["flowkd new a.csv", "flowkd run a.yaml"],
        "said": ["wrote a.yaml"], "new_seconds": 3, "run_seconds": 90, "advice": advice,
        "teacher": flow(1, 400, 10), "plain": flow(2, 100, 40),
        "distilled": flow(distilled, 100, 40),
    }  # fmt: skip
    results = {
        "date": "2026-01-01", "torch": "2", "machine": "a CPU", "install_seconds": 9, "load": 1,
        "journeys": {"rows": journey},
    }  # fmt: skip
    page = journeys_page.document(results)
    assert f"| [rows](#rows) | 3 | 1.5 | 25% | {share} | 4.0x, 4.0x |" in page
    assert "Not made by today's defaults yet: casp, stars, photos." in page
    assert ("Ask for a smaller student." in page) == bool(advice)
