"""The configurations under jobs/configs: each is what its job takes, and they fit each other."""

from pathlib import Path

import pytest

from cluster.serving import ServingConfig
from flowkd.build import build_flow
from flowkd.config import load_config
from flowkd.evaluation import EvaluationConfig
from flowkd.objectives import Distillation
from flowkd.publish import PublishConfig
from flowkd.run_config import DistillationConfig, TrainingConfig
from jobs.prepare import PrepareConfig
from jobs.quickstart import QuickstartConfig

CONFIGS = Path(__file__).parents[1] / "jobs" / "configs"
# Which job takes a file: by the file's name.
KINDS = {
    "dataset": PrepareConfig,
    "teacher": TrainingConfig,
    "plain": TrainingConfig,
    "distilled": TrainingConfig,
    "distill": TrainingConfig,
    "evaluate": EvaluationConfig,
    "publish": PublishConfig,
    "deploy": ServingConfig,
    "quickstart": QuickstartConfig,
}
EXPECTED = {
    *(f"quickstart/{name}" for name in KINDS if name != "distill"),
    "paper/cifar10_teacher",
    "paper/cifar10_distill",
}
FILES = {str(path.relative_to(CONFIGS).with_suffix("")): path for path in CONFIGS.rglob("*.yaml")}


def test_the_expected_files_are_there():
    assert set(FILES) >= EXPECTED


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_its_job_takes(name):
    stage = FILES[name].stem.rpartition("_")[2]
    config = load_config(KINDS[stage], FILES[name])
    if isinstance(config, TrainingConfig):
        teaches = isinstance(config.objective, DistillationConfig)
        assert teaches == (stage in ("distilled", "distill"))


@pytest.mark.parametrize(
    ("teacher", "student", "shape"),
    [
        ("quickstart/teacher", "quickstart/distilled", (3, 8, 8)),
        ("paper/cifar10_teacher", "paper/cifar10_distill", (3, 32, 32)),
    ],
)
def test_a_student_fits_its_teacher(teacher, student, shape):
    teaching, learning = (load_config(TrainingConfig, FILES[name]) for name in (teacher, student))
    assert learning.objective.teacher == f"runs/{teaching.name}"
    assert learning.dataset == teaching.dataset
    data = {"event_shape": shape, "mean": 128.0, "scale": 256.0, "width": 4}
    flows = [build_flow(config.flow.model_copy(update=data)) for config in (learning, teaching)]
    Distillation(*flows, learning.objective.hints, learning.objective.weights)


def test_the_students_of_the_quickstart_differ_in_their_objective_alone():
    plain, distilled = (
        load_config(TrainingConfig, FILES[f"quickstart/{name}"]).model_dump()
        for name in ("plain", "distilled")
    )
    assert {key for key in plain if plain[key] != distilled[key]} == {"name", "objective"}
