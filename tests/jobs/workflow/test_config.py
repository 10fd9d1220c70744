"""One file stands for all stages, whose configs are those that their own jobs take."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flowkd.distillation.objective import BEST_WEIGHTS
from flowkd.errors import ConfigError
from flowkd.training.choices.rate import known_rate, with_rate
from flowkd.training.inputs import load_data
from flowkd.training.resolve import resolve_run
from jobs.checks import makes, needs
from jobs.kinds import check_config
from jobs.workflow.config import WorkflowConfig, stages
from tests.support.small_runs import training


def workflow(**parts: Any) -> WorkflowConfig:
    values = {"name": "mine", "data": {"kind": "table", "name": "mine", "source": "mine.csv"}}
    return WorkflowConfig.model_validate({**values, **parts})


def test_a_name_and_data_are_enough() -> None:
    found = stages(workflow())
    assert list(found) == [
        "data", "teacher", "plain", "distilled", "evaluate", "publish", "deploy", "report",
    ]  # fmt: skip
    have: set[str] = set()
    for kind, config in found.values():
        values = config.model_dump(mode="json")
        assert check_config(kind, values, "x") == config
        assert needs(config) <= have
        have |= makes(config)
    distilled = found["distilled"][1]
    assert distilled.objective.weights == BEST_WEIGHTS
    assert found["publish"][1].sources == ("runs/mine-plain", "runs/mine-distilled")
    assert found["deploy"][1].models == {"mine": "models/mine@best"}


def test_what_is_there_already_or_not_wanted_is_no_stage() -> None:
    found = stages(workflow(data="walks", teacher="models/large@best", plain=False, deploy="none"))
    assert list(found) == ["distilled", "evaluate", "publish", "report"]
    assert found["distilled"][1].objective.teacher == "models/large@best"
    assert found["evaluate"][1].flows == {
        "teacher": "models/large@best", "distilled": "runs/mine-distilled",
    }  # fmt: skip


def test_where_figures_are_sent_is_said_once_for_all() -> None:
    server = {"mlflow": "http://127.0.0.1:5000"}
    found = stages(workflow(tracking=server, student={"tracking": {}}))
    sent = {name: config.tracking.mlflow for name, (_, config) in found.items()
            if hasattr(config, "tracking")}  # fmt: skip
    assert sent == {
        "teacher": server["mlflow"], "plain": None, "distilled": None, "evaluate": server["mlflow"],
    }  # fmt: skip


def test_both_students_are_the_same_flow_trained_alike(taught_store) -> None:
    options = {
        "train": {"steps": 6, "warmup_steps": 2},
        "objective": {"share": 0.5, "warm_start": "none"},
    }
    found = stages(workflow(data="walks", teacher="runs/teacher", student=options))
    plain, distilled = (
        resolve_run(found[role][1], taught_store) for role in ("plain", "distilled")
    )
    assert plain.flow == distilled.flow
    assert plain.flow.kind == "coupling"
    with_rate(plain, load_data(plain, taught_store), taught_store)
    assert known_rate(distilled, taught_store).found_rate.shared


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"teacher": {"stepps": 1}}, r"workflow 'mine': teacher.*stepps: unknown key"),
        ({"student": {"train": {"steps": 0}}}, r"workflow 'mine': student.*train\.steps"),
        ({"teacher": {"objective": {"kind": "distillation", "teacher": "runs/a"}}},
         r"teacher\.objective: expected none, for the teacher learns from data"),
        ({"deploy": {"prot": 1}}, r"workflow 'mine': deploy.*prot: unknown key"),
    ],
)  # fmt: skip
def test_a_part_that_its_job_does_not_take_is_named(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stages(workflow(**parts))


def test_names_are_the_workflows_own() -> None:
    with pytest.raises(ValidationError, match=r"student\.name: follows from the workflow's name"):
        workflow(student={"name": "other"})


def test_a_plain_student_of_the_size_of_its_rival_learns_from_data_alone(taught_store) -> None:
    objective = {"kind": "maximum_likelihood", "smaller_than": "runs/teacher", "share": 0.5}
    run = resolve_run(training("plain", flow=None, objective=objective), taught_store)
    assert (run.teacher, run.source) == (None, None)
    assert run.flow.width < 6
