"""Properties of a Glow whose levels differ in depth and width."""

import pytest
import torch

from flowkd.distillation.warmstart import check_warm_start, warm_start
from flowkd.flows.build import build_flow
from flowkd.flows.glow import GlowConfig
from tests.support.taught_flows import GLOW, couplings, data, new, taught

UNEQUAL = GLOW.model_copy(update={"depth": (3, 2), "width": (6, 9)})


def test_each_level_has_its_own_depth_and_width():
    flow = build_flow(UNEQUAL)
    steps = [name for name in flow.taps if name.count(".") == 1 and "step" in name]
    assert steps == [
        "level0.step0", "level0.step1", "level0.step2", "level1.step0", "level1.step1"
    ]  # fmt: skip
    widths = [flow.chain[f"{step}.coupling"].conditioner.middle.out_channels for step in steps]
    assert widths == [6, 6, 6, 9, 9]
    assert UNEQUAL.level_sizes == [(3, 6, 6), (2, 9, 9)]
    assert GLOW.level_sizes == [(4, 16, 16), (4, 16, 16)]


def test_a_networks_second_layer_may_be_narrower_than_its_first():
    config = UNEQUAL.model_copy(update={"inner": (4, 5)})
    assert config.level_sizes == [(3, 6, 4), (2, 9, 5)]
    networks = [coupling.conditioner for coupling in couplings(build_flow(config))]
    assert [network.first.out_channels for network in networks] == [6, 6, 6, 9, 9]
    assert [network.last.in_channels for network in networks] == [4, 4, 4, 5, 5]


def test_one_number_is_the_same_for_all_levels():
    spelled = GLOW.model_copy(update={"depth": (4, 4), "width": (16, 16)})
    ours, theirs = (build_flow(config, seed=1).state_dict() for config in (GLOW, spelled))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours | theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": (1, 2, 3)}, "expected depth as one number, or one for each of 2 levels; got"),
        ({"width": (4,)}, "expected width as one number, or one for each of 2 levels; got"),
        ({"inner": (4, 4, 4)}, "expected inner as one number, or one for each of 2 levels; got"),
        ({"depth": (1, 0)}, "greater than or equal to 1"),
    ],
)
def test_levels_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GlowConfig(levels=2, **options)


def test_a_level_that_keeps_its_size_maps_as_its_source_does():
    small = GLOW.model_copy(update={"depth": (4, 2), "width": (16, 8)})
    x, _ = data(GLOW)
    teacher, student = taught(GLOW), new(small)
    warm_start("fold", student, small, teacher, GLOW, x)
    ours, theirs = (flow(x, taps=["level0"]).states["level0"] for flow in (student, teacher))
    torch.testing.assert_close(ours.h, theirs.h)
    torch.testing.assert_close(ours.log_det, theirs.log_det)
    assert len(couplings(student)) == 6
    away = (student.log_prob(x) - teacher.log_prob(x)).abs().mean().item()
    assert 0 < away < 0.2 * teacher.log_prob(x).abs().mean().item()


def test_a_level_larger_than_its_sources_is_refused():
    check_warm_start("fold", UNEQUAL, GLOW)
    larger = GLOW.model_copy(update={"depth": (2, 5)})
    with pytest.raises(ValueError, match=r"at most its source's depth, 4; got \(2, 5\)"):
        check_warm_start("fold", larger, GLOW)
    wider_inside = GLOW.model_copy(update={"inner": (8, 17)})
    with pytest.raises(ValueError, match=r"at most its source's inner, 16; got \(8, 17\)"):
        check_warm_start("fold", wider_inside, GLOW)
    with pytest.raises(ValueError, match=r"least 5 .* fold depth to 2 .* level 1; got 2"):
        check_warm_start("fold", UNEQUAL, GLOW, rows=2)
