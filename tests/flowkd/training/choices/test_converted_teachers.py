"""What follows a converted teacher with nothing set: its folded copy, if that is one pass."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import flowkd
from flowkd.data.manifest import Manifest
from flowkd.distillation.objective import DistillationConfig
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow, config_of, count_parameters, smaller
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.flow import Flow
from flowkd.registry.pins import PinnedArtifact
from flowkd.training.choices.timed_shape import candidates
from flowkd.training.config import TrainingConfig
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import complete_run
from flowkd.training.resolved import ResolvedRun
from tests.support.foreign_flows import D, same

COPIES = ("normflows RealNVP", "normflows couplings, exp", "normflows Glow")


@cache
def converted(name: str) -> Flow:
    return flowkd.convert(same(name))


@pytest.mark.parametrize("name", COPIES)
def test_one_of_couplings_is_followed_by_a_narrower_copy_within_its_share(name: str) -> None:
    teacher = config_of(converted(name))
    student = smaller(teacher, 0.75)
    assert student.kind == "converted"
    assert [layer.kind for layer in student.layers] == [layer.kind for layer in teacher.layers]
    share = count_parameters(build_flow(student)) / count_parameters(converted(name))
    assert 0.5 < share <= 0.75
    assert build_flow(student).one_pass == {"log_prob": True, "sample": True}


def test_one_of_residual_convolutions_is_followed_by_a_glow_of_as_many_levels() -> None:
    student = smaller(config_of(converted("nflows Glow of residual convolutions")), 0.9)
    assert (student.kind, student.levels) == ("glow", 2)


def test_a_share_that_its_matrices_alone_exceed_is_given_to_couplings_of_flowkd() -> None:
    teacher = config_of(converted("normflows couplings, exp"))
    assert isinstance(smaller(teacher, 0.5), CouplingConfig)


def resolved(name: str) -> ResolvedRun:
    shard = {"file": "a.parquet", "sha256": "0" * 64, "rows": 5000, "bytes": 1}
    manifest = Manifest.model_validate(
        {
            "name": "table", "kind": "table", "event_shape": [D], "source": "here", "config": {},
            "mean": [1.0] * D, "scale": [2.0] * D, "columns": list("abcde"),
            "transforms": ["asinh", None, None, None, None],
            "splits": {
                name: {"rows": 5000, "shards": [shard]} for name in ("train", "val", "test")
            },
        }
    )  # fmt: skip
    teacher = PinnedArtifact(
        reference="models/large@1", weights="", flow=config_of(converted(name))
    )
    objective = DistillationConfig(teacher="models/large@1", share=0.75)
    config = TrainingConfig(name="small", dataset="table", objective=objective)
    return complete_run(config, manifest, teacher, teacher)


def test_a_throughput_is_that_of_steps_whose_shapes_can_be_timed() -> None:
    shapes = candidates(config_of(converted("nflows RealNVP")), times=2.0)
    assert {shape.kind for shape in shapes} == {"coupling"}


def test_a_run_with_nothing_set_folds_it() -> None:
    run = resolved("nflows RealNVP")
    assert run.config.distillation is not None
    assert (run.flow.kind, run.config.distillation.warm_start) == ("converted", "fold")
    assert "warm_start: fold" in run.notes
    # It sees the columns as its teacher does, whatever the data set's manifest suggests.
    assert (run.flow.mean, run.flow.scale, run.flow.transforms) == (0.0, 1.0, ())


def test_a_run_says_why_the_student_of_one_of_masks_begins_at_random() -> None:
    run = resolved("zuko NSF")
    assert run.config.distillation is not None
    assert (run.flow.kind, run.config.distillation.warm_start) == ("coupling", "none")
    (why,) = (note for note in run.notes if note.startswith("warm_start"))
    assert why.startswith(
        "warm_start: none, because no closed form leads from a flow of kind converted, zuko "
    )


def test_a_student_in_memory_with_nothing_set_begins_near_its_teacher() -> None:
    teacher = converted("nflows NSF-C | context")
    context = torch.randn(300, teacher.context.size)
    x = teacher.sample(300, context, generator=torch.Generator().manual_seed(1))
    given = {"share": 0.75, "steps": 1, "samples": 100, "batch_size": 50, "learning_rate": 1e-6}
    known = teacher.log_prob(x, context)
    off = {}
    for start in (None, "none"):
        student = flowkd.distill(teacher, x, context, warm_start=start, **given)
        assert config_of(student).kind == "converted"
        off[start] = (student.log_prob(x, context) - known).abs().median().item()
    assert off[None] < 0.2 * off["none"]


def test_a_fold_that_is_worse_than_a_random_start_is_left_out_or_refused_where_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = []
    monkeypatch.setattr(
        "flowkd.training.in_memory.prepare_run",
        lambda *given: runs.append(prepare_run(*given)) or runs[-1],
    )
    teacher = converted("zuko MAF | context")
    context = torch.randn(300, teacher.context.size)
    x = teacher.sample(300, context, generator=torch.Generator().manual_seed(1))
    small = config_of(teacher).scaled(0.5, 0.5)
    given = {"student": small, "steps": 1, "samples": 50, "learning_rate": 1e-9}
    given["weights"] = {"nll": 0.5, "samples": 0.5}
    with pytest.raises(ConfigError, match=r"warm_start: expected a folded student .* begin with"):
        flowkd.distill(teacher, x, context, warm_start="fold", **given)
    with pytest.warns(UserWarning, match="It began at random, and not by fold, which is worse her"):
        student = flowkd.distill(teacher, x, context, **given)
    (remark,) = runs[-1].remarks  # its card has it
    assert remark.startswith("It began at random, and not by fold")
    random = flowkd.distill(teacher, x, context, warm_start="none", **given)
    assert not runs[-1].remarks
    torch.testing.assert_close(student.log_prob(x, context), random.log_prob(x, context))
