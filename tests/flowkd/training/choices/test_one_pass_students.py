"""What a student of an autoregressive teacher is with nothing set: one pass both ways."""

from __future__ import annotations

import pytest
import torch

import flowkd
from flowkd.data.manifest import Manifest
from flowkd.distillation.objective import DECODED_WEIGHTS, DistillationConfig
from flowkd.distillation.schedules import LossWeights
from flowkd.errors import ConfigError
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow, count_parameters, smaller
from flowkd.flows.coupling import CouplingConfig
from flowkd.registry.pins import PinnedArtifact
from flowkd.training.choices.trials import short_run
from flowkd.training.config import TrainingConfig
from flowkd.training.resolve import complete_run

TEACHER = AutoregressiveConfig(
    event_shape=(4,), mean=1.0, scale=2.0, depth=3, width=24, bins=4, classes=2
)


def manifest() -> Manifest:
    shard = {"file": "a.parquet", "sha256": "0" * 64, "rows": 5000, "bytes": 1}
    return Manifest.model_validate(
        {
            "name": "table", "kind": "table", "event_shape": [4], "classes": 2, "source": "here",
            "mean": [1.0] * 4, "scale": [2.0] * 4, "columns": list("abcd"), "config": {},
            "splits": {
                name: {"rows": 5000, "shards": [shard]} for name in ("train", "val", "test")
            },
        }
    )  # fmt: skip


def pinned(flow: AutoregressiveConfig = TEACHER) -> PinnedArtifact:
    return PinnedArtifact(reference="models/large@1", weights="", flow=flow)


@pytest.mark.parametrize("direction", ["density", "sampling"])
@pytest.mark.parametrize("share", [0.5, 0.25, 0.1])
def test_it_is_a_spline_coupling_flow_within_its_share(direction: str, share: float) -> None:
    teacher = TEACHER.model_copy(update={"direction": direction})
    student = smaller(teacher, share)
    assert isinstance(student, CouplingConfig)
    assert student.transform == "spline"
    assert student.bins == 4
    flow, large = build_flow(student), build_flow(teacher)
    assert flow.one_pass == {"log_prob": True, "sample": True}
    assert (flow.event_shape, flow.context) == (large.event_shape, large.context)
    assert 0.6 * share < count_parameters(flow) / count_parameters(large) <= share
    torch.testing.assert_close(flow.preprocess.state_dict(), large.preprocess.state_dict())


def test_a_student_is_made_in_memory_with_nothing_set() -> None:
    x = torch.randn(300, 3).cumsum(1)
    teacher = flowkd.autoregressive(3, depth=2, width=16, bins=4)
    flowkd.fit(teacher, x, steps=10, learning_rate=0.01, batch_size=50)
    student = flowkd.distill(
        teacher, x, share=0.5, steps=10, samples=100, learning_rate=0.01, batch_size=50
    )
    assert student.one_pass == {"log_prob": True, "sample": True}
    assert student.log_prob(x).isfinite().all()


def resolved(**settings):
    objective = DistillationConfig(teacher="models/large@1", **settings.pop("objective", {}))
    config = TrainingConfig(name="small", dataset="table", objective=objective, **settings)
    return complete_run(config, manifest(), pinned(), pinned())


def test_a_run_says_why_it_begins_at_random() -> None:
    run = resolved()
    assert run.flow.kind == "coupling"
    assert run.config.distillation is not None
    assert run.config.distillation.warm_start == "none"
    assert run.source is None
    said = [note for note in run.notes if note.startswith("warm_start: none, because")]
    assert "no closed form leads from a flow of kind autoregressive to one of kind" in said[0]


def test_a_closed_form_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="no closed form leads from a flow of kind auto"):
        resolved(objective={"warm_start": "fold"})


def test_a_student_that_encodes_slowly_learns_by_what_it_decodes() -> None:
    flow = TEACHER.model_copy(update={"direction": "sampling", "width": 8})
    run = resolved(flow=flow, objective={"warm_start": "none"})
    assert run.config.distillation is not None
    assert run.config.distillation.weights == DECODED_WEIGHTS
    assert any("data_cycle 1, reverse_kl 1" in note for note in run.notes)
    run.build_objective(build_flow(run.flow), build_flow(TEACHER))
    # Its learning rate is looked for on the same terms: those of data would be slow.
    assert short_run(run).config.distillation is not None
    assert short_run(resolved()).config.distillation is None


def test_weights_that_are_given_stay_and_are_checked() -> None:
    flow = TEACHER.model_copy(update={"direction": "sampling", "width": 8})
    objective = {"warm_start": "none", "weights": LossWeights(samples=1.0)}
    run = resolved(flow=flow, objective=objective)
    with pytest.raises(ConfigError, match="for which it encodes rows in 4 passes each"):
        run.build_objective(build_flow(run.flow), build_flow(TEACHER))
