"""The configurations under jobs/configs: each is what its job takes, and they fit each other."""

import pytest

from cluster.queue.config import QueueConfig
from flowkd.config import load_config
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.distillation.losses import Distillation
from flowkd.distillation.objective import DistillationConfig
from flowkd.distillation.warmstart import check_warm_start
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow, count_parameters
from flowkd.training.config import TrainingConfig
from jobs.studies.capacity_config import CapacityConfig
from jobs.studies.config import StudyConfig
from jobs.workflow.config import WorkflowConfig, stages
from tests.support import ROOT
from tuning.config import SearchConfig

CONFIGS = ROOT / "jobs" / "configs"
# Which job takes a file: by the file's name.
KINDS = {
    "dataset": PrepareConfig,
    "teacher": TrainingConfig,
    "distill": TrainingConfig,
}
EXPECTED = {
    *(f"study/{name}" for name in ("digits", "photos", "photos-scarce", "table", "table-scarce")),
    "folds/pictures",
    "capacity/photos",
    "search/photos",
    "search/table",
    "quickstart/quickstart",
    "quickstart/table",
    *(f"paper/tables/{name}" for name in ("power", "gas", "hepmass", "miniboone", "bsds300")),
    "paper/cifar10_dataset",
    "paper/cifar10_teacher",
    "paper/cifar10_distill",
}
# And of those in a folder of their own.
FOLDERS = {
    "quickstart": WorkflowConfig,
    "paper/tables": WorkflowConfig,
    "study": StudyConfig,
    "study/small": StudyConfig,
    "folds": StudyConfig,
    "capacity": CapacityConfig,
    "queue": QueueConfig,
    "search": SearchConfig,
}
FILES = {str(path.relative_to(CONFIGS).with_suffix("")): path for path in CONFIGS.rglob("*.yaml")}


def test_the_expected_files_are_there():
    assert set(FILES) >= EXPECTED


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_its_job_takes(name):
    stage = FILES[name].stem.rpartition("_")[2]
    kind = FOLDERS.get(name.rpartition("/")[0]) or KINDS[stage]
    config = load_config(kind, FILES[name])
    if isinstance(config, TrainingConfig):
        teaches = isinstance(config.objective, DistillationConfig)
        assert teaches == (stage == "distill")


SHAPES = {"photos": (3, 8, 8), "digits": (1, 8, 8), "patches": (63,)}
STUDIES = [name for name in FILES if name.startswith(("study", "capacity"))]


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_a_study_fits_its_teacher(name):
    kind = FOLDERS[name.rpartition("/")[0]]
    config = load_config(kind, FILES[name])
    study = config.study() if isinstance(config, CapacityConfig) else config
    data = {"event_shape": SHAPES[study.dataset.kind], "mean": 128.0, "scale": 256.0}
    large = study.teacher.flow.model_copy(update=data)
    teacher = build_flow(large)
    for arm in study.arms.values():
        small = (arm.flow or study.student.flow).model_copy(update=data)
        if arm.objective is None:
            continue
        student = build_flow(small)
        Distillation(student, teacher, arm.objective.hints, arm.objective.weights)
        if arm.objective.warm_start != "none":
            between = arm.intermediate.model_copy(update=data) if arm.intermediate else large
            check_warm_start(arm.objective.warm_start, between, large)
            check_warm_start(arm.objective.warm_start, small, between)
    share = count_parameters(build_flow(study.student.flow.model_copy(update=data)))
    assert share <= study.targets.parameters_share * count_parameters(teacher)


@pytest.mark.parametrize("name", ["study/digits", "capacity/photos"])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning_rates", "[0]", "learning_rates.0: .* greater than 0; got 0"),
        ("learning_rates", "[0.1, 0.1]", r"learning_rates: expected each once; got \[0.1, 0.1\]"),
        ("student_seeds", "[-1]", "student_seeds.0: .* greater than or equal to 0; got -1"),
        ("teacher_seeds", "[]", "teacher_seeds: .* at least 1 item"),
        ("throughput_seconds", "0", "throughput_seconds: .* greater than 0; got 0"),
    ],
)
def test_what_every_study_says_is_checked_in_every_kind_of_study(name, key, value, message):
    with pytest.raises(ConfigError, match=message):
        load_config(FOLDERS[name.rpartition("/")[0]], FILES[name], [f"{key}={value}"])


QUICKSTART = stages(load_config(WorkflowConfig, FILES["quickstart/quickstart"]))
PAPER = [
    load_config(TrainingConfig, FILES[f"paper/cifar10_{name}"]) for name in ("teacher", "distill")
]


@pytest.mark.parametrize(
    ("teaching", "learning", "shape"),
    [
        (QUICKSTART["teacher"][1], QUICKSTART["distilled"][1], (3, 8, 8)),
        (*PAPER, (3, 32, 32)),
    ],
)
def test_a_student_fits_its_teacher(teaching, learning, shape):
    assert learning.objective.teacher == f"runs/{teaching.name}"
    assert learning.dataset == teaching.dataset
    data = {"event_shape": shape, "mean": 128.0, "scale": 256.0, "width": 4}
    flows = [build_flow(config.flow.model_copy(update=data)) for config in (learning, teaching)]
    Distillation(*flows, learning.objective.hints, learning.objective.weights)


def test_the_students_of_the_quickstart_differ_in_their_objective_alone():
    plain, distilled = (QUICKSTART[name][1].model_dump() for name in ("plain", "distilled"))
    assert {key for key in plain if plain[key] != distilled[key]} == {"name", "objective"}


COLUMNS = {"power": 6, "gas": 8, "hepmass": 21, "miniboone": 43, "bsds300": 63}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_student_of_a_published_teacher_is_small_and_of_one_pass(name):
    found = stages(load_config(WorkflowConfig, FILES[f"paper/tables/{name}"]))
    data = {"event_shape": (COLUMNS[name],), "mean": 0.0, "scale": 1.0}
    teacher, plain, student = (
        build_flow(found[role][1].flow.model_copy(update=data))
        for role in ("teacher", "plain", "distilled")
    )
    assert teacher.one_pass == {"log_prob": True, "sample": False}
    assert student.one_pass == {"log_prob": True, "sample": True}
    assert student.config == plain.config
    assert 0.2 < count_parameters(student) / count_parameters(teacher) <= 0.25
    objective = found["distilled"][1].objective
    Distillation(student, teacher, objective.hints, objective.weights)
