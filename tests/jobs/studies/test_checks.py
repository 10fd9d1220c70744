"""What is wrong with a study is told before it imports, trains or starts anything."""

import pytest
import yaml
from typer.testing import CliRunner

from cluster.storage import StorageConfig
from flowkd.data.importers.prepare import prepare
from flowkd.errors import FlowkdError
from jobs.capacity import app as capacity
from jobs.studies.checks import check_studies
from jobs.study import app as study_app
from tests.support.small_studies import STUDY, study

STEPS = {
    "flow": {"kind": "glow", "levels": 1, "depth": 2},
    "train": {"steps": 100, "warmup_steps": 10},
}
LATE = {**STEPS, "train": {"steps": 100, "warmup_steps": 100}}
WRONG = {**STEPS, "flow": {"kind": "glow", "levels": 4, "depth": 2}}


@pytest.fixture
def storage(local_store):
    return StorageConfig.from_uri(local_store.uri)


@pytest.mark.parametrize("there", [False, True])
def test_a_study_of_which_nothing_is_wrong_passes_and_writes_nothing(storage, there):
    if there:
        prepare(study().dataset, storage.store())
    before = sorted(storage.store().list("datasets"))
    check_studies([study(), study(name="other")], storage)
    assert sorted(storage.store().list("datasets")) == before
    assert storage.store().list("runs") == storage.store().list("studies") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "expected studies of different names"),
        ({"name": "o", "student": LATE}, r"study 'o', student\.train\.warmup_steps: .* the 100"),
        ({"name": "o", "teacher": WRONG}, "8|levels"),
        ({"name": "o", "dataset": {"kind": "digits", "seed": 3}}, "another data set 'digits'"),
    ],
)
def test_what_is_wrong_is_told(storage, changes, message):
    prepare(study().dataset, storage.store())
    with pytest.raises(FlowkdError, match=message):
        check_studies([study(), study(**changes)], storage)


@pytest.mark.parametrize("command", [study_app, capacity])
def test_check_alone_starts_nothing(command, storage, tmp_path):
    values = dict(STUDY)
    if command is capacity:
        values = {key: each for key, each in values.items() if key not in ("arms", "best")}
        shape = {"flow": STEPS["flow"]}
        values |= {"students": {"w": shape}, "objective": {"warm_start": "fold"}, "about": "folded"}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(values))
    asked = ["--config", str(file), "--store", storage.store().uri, "--check"]
    called = CliRunner().invoke(command, asked)
    assert (called.exit_code, called.output) == (0, "checked: nothing speaks against it\n")
    assert storage.store().list("datasets") == []
