"""A fold that is worse than a new flow is none, and leaves the student as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import flowkd
from flowkd.distillation.warmstart import WorseThanNewError, warm_start
from flowkd.distillation.warmstart.beginning import mean_log_prob
from flowkd.flows.build import build_flow, config_of
from flowkd.flows.context import example_context
from flowkd.flows.converted.config import ConvertedConfig
from flowkd.flows.flow import Flow
from tests.support.foreign_flows import same

ROWS = 300


def far_off() -> tuple[Flow, ConvertedConfig, Flow, Tensor, Tensor]:
    """A teacher, the config of half of its steps, such a student as new, and rows of a context."""
    teacher = flowkd.convert(same("nflows NSF-AR | context"))
    config = config_of(teacher)
    assert isinstance(config, ConvertedConfig)
    small = config.scaled(0.5, 1.0)
    context = example_context(teacher.context, teacher.context_units, ROWS)
    assert context is not None
    x = teacher.sample(ROWS, context, generator=torch.Generator().manual_seed(3))
    student = build_flow(small)
    student.initialize(x, context)
    return teacher, small, student, x, context


def test_a_fold_of_which_the_data_are_less_likely_is_refused_and_nothing_is_changed() -> None:
    teacher, small, student, x, context = far_off()
    before = copy.deepcopy(student.state_dict())
    message = r"of 300 rows is -\d\.\d\d nats; got -\d+\.\d\d: begin with none, or fold less"
    with pytest.raises(WorseThanNewError, match=message):
        warm_start("fold", student, small, teacher, config_of(teacher), x, context)
    after = student.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@torch.no_grad()
def test_of_a_source_that_is_no_better_than_a_new_flow_a_fold_is_a_copy_all_the_same() -> None:
    teacher, _, _, x, context = far_off()
    config = config_of(teacher)
    student = build_flow(config)
    student.initialize(far := 5 * x.flip(1) + 3, context)
    known = mean_log_prob(teacher, far, context)
    assert known < mean_log_prob(student, far, context)
    warm_start("fold", student, config, teacher, config, far, context)
    assert mean_log_prob(student, far, context) == pytest.approx(known, rel=1e-4)
