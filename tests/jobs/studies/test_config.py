"""Which studies are valid, and how others are refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from flowkd.config import dump_config, parse_config
from flowkd.errors import ConfigError
from jobs.studies.config import StudyConfig
from tests.support.small_studies import STUDY, study

FOLD = {"warm_start": "fold"}


def with_arm(name: str, **arm: Any) -> dict[str, Any]:
    return {"arms": {**STUDY["arms"], name: {"about": "an arm", **arm}}}


def test_a_study_that_was_dumped_is_read_back_equal() -> None:
    config = study()
    again = parse_config(StudyConfig, yaml.safe_load(dump_config(config)), source="again")
    assert again == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"best": STUDY["arms"]["best"]}}, r"expected an arm 'plain' with nothing but"),
        (with_arm("plain", steps_factor=2), r"expected an arm 'plain' with nothing but"),
        (with_arm("teacher"), r"no arm 'teacher'"),
        ({"best": "nobody"}, r"best: expected an arm with an objective.*got 'nobody'"),
        ({"best": "plain"}, r"best: expected an arm with an objective.*got 'plain'"),
        (with_arm("x", cpu_matched_to="nobody"), r"arms.x.cpu_matched_to: .*'best'.*got 'nobody'"),
        (with_arm("x", cpu_matched_to="plain"), r"arms.x.cpu_matched_to: .*got 'plain'"),
        (with_arm("x", objective={"teacher": "runs/a"}), r"arms.x.objective: .*neither kind nor"),
        (with_arm("x", objective={"wieghts": {}}), r"arms.x.objective.wieghts: unknown key"),
        (with_arm("x", objective=FOLD, seed_pairs=[[0, 9]]), r"arms.x.seed_pairs: .*got \[0, 9\]"),
        (with_arm("x", objective=FOLD, seed_pairs=[[0, 5], [0, 5]]), r"arms.x.seed_pairs: .*once"),
        (with_arm("x", seed_pairs=[[0, 5]]), r"arms.x: .*expected an objective beside them"),
        (
            with_arm(
                "x", objective={"weights": {"latent": 1}}, intermediate=STUDY["student"]["flow"]
            ),
            r"arms.x: .*expected objective.warm_start other than none",
        ),
        (
            with_arm("x", cpu_matched_to="best", steps_factor=2),
            r"cpu_matched_to or steps_factor; got both",
        ),
        (with_arm("x", cpu_matched_to="best", objective=FOLD), r"expected no objective beside it"),
        (with_arm("x", objective={}), r"arms.x.objective: .*a training on data alone"),
        ({"student_seeds": [1, 1]}, r"student_seeds: expected each once; got \[1, 1\]"),
        ({"learning_rates": []}, r"learning_rates: .*at least 1 item"),
        ({"name": "a/b"}, r"name: expected letters"),
    ],
)
def test_a_study_that_cannot_be_is_refused_with_what_is_expected(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        study(**changes)
