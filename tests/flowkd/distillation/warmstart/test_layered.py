"""Networks under masks and of residual blocks become narrower, and masked maps fewer."""

from __future__ import annotations

import pytest
import torch

from flowkd.distillation.warmstart import check_warm_start, layered, warm_start
from flowkd.distillation.warmstart.affine import Affine
from flowkd.distillation.warmstart.layered import Layers, layers_of
from flowkd.distillation.warmstart.layout import blocks
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from tests.support.small_flows import randomise
from tests.support.taught_flows import data, new, smaller, taught

TABLE = {"event_shape": (5,), "mean": 0.0, "scale": 1.0, "depth": 2, "width": 16}
VECTOR = {"context_size": 2, "context_mean": 0.0, "context_scale": 1.0}
CONFIGS: dict[str, FlowConfig] = {
    "splines": AutoregressiveConfig(**TABLE, bins=3),
    "blocks, a vector": AutoregressiveConfig(**TABLE, **VECTOR, transform="affine", blocks=1),
    "sampling": AutoregressiveConfig(**TABLE, transform="affine", direction="sampling"),
    "residual couplings, a vector": CouplingConfig(**TABLE, **VECTOR, blocks=2),
}
NAMES = pytest.mark.parametrize("name", CONFIGS)


def layers(flow: Flow) -> list[Layers]:
    return [layers_of(unit.conditioner) for part in blocks(flow) for unit in part if unit.is_step]


def twice(ours: Layers, theirs: Layers) -> None:
    """Makes of each unit of a network two of one that is twice as wide, which do the same."""

    def write(to: torch.nn.Module, of: torch.nn.Module, rows: bool, columns: bool) -> None:
        weight, bias = of.weight, of.bias
        if columns:
            weight = weight.repeat_interleave(2, 1) / 2
        if rows:
            weight = weight.repeat_interleave(2, 0)
            bias = None if bias is None else bias.repeat_interleave(2)
        to.weight.copy_(weight)
        if bias is not None:
            to.bias.copy_(bias)

    write(theirs.first, ours.first, True, False)
    write(theirs.last, ours.last, False, True)
    pairs = list(zip(theirs.hidden, ours.hidden, strict=True))
    for wide, narrow in zip(theirs.blocks, ours.blocks, strict=True):
        pairs += [(wide.first, narrow.first), (wide.last, narrow.last)]
        if narrow.gate is not None:
            write(wide.gate, narrow.gate, True, False)
        if getattr(narrow.first, "context", None) is not None:
            write(wide.first.context, narrow.first.context, True, False)
    for wide, narrow in pairs:
        write(wide, narrow, True, True)
    if ours.context is not None:
        write(theirs.context, ours.context, True, False)


@NAMES
@torch.no_grad()
def test_units_that_others_rebuild_are_left_out_and_nothing_changes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layered, "SHRINKAGE", 1e-12)
    config = CONFIGS[name]
    small = smaller(config, width=8)
    known, source, student = new(small, 2), new(config, 2), new(small)
    randomise(known)
    for key, value in known.state_dict().items():
        if value.shape == source.state_dict()[key].shape:
            source.state_dict()[key].copy_(value)
    for ours, theirs in zip(layers(known), layers(source), strict=True):
        twice(ours, theirs)
    x, context = data(config)
    expected = known.log_prob(x, context)
    torch.testing.assert_close(source.log_prob(x, context), expected)
    warm_start("fold", student, small, source, config, x, context)
    torch.testing.assert_close(student.log_prob(x, context), expected, rtol=1e-4, atol=1e-4)


@NAMES
def test_what_is_rebuilt_is_nearer_to_the_source_than_what_is_left_out(name: str) -> None:
    config = CONFIGS[name]
    source, (x, context) = taught(config), data(config)
    small = smaller(config, width=6)
    found = {}
    for kind in ("fold", "slice"):
        student = new(small)
        warm_start(kind, student, small, source, config, x, context)
        with torch.no_grad():
            off = student.log_prob(x, context) - source.log_prob(x, context)
        found[kind] = off.square().mean().item()
    # What no ReLU cuts off, as the last layer of residual couplings sees it, is rebuilt best.
    most = 0.1 if name.startswith("residual couplings") else 0.5
    assert found["fold"] < most * found["slice"]


@NAMES
def test_a_student_of_its_sources_size_is_its_source(name: str) -> None:
    config = CONFIGS[name]
    source, student, (x, context) = taught(config), new(config), data(config)
    warm_start("fold", student, config, source, config, x, context)
    torch.testing.assert_close(student.log_prob(x, context), source.log_prob(x, context))


def test_a_masked_map_that_does_nothing_is_the_one_that_goes() -> None:
    config = smaller(CONFIGS["splines"], depth=3)
    source, (x, _) = taught(config), data(config)
    made = layers(source)[1].last
    made.weight.detach().zero_()
    made.bias.detach().zero_()
    small = smaller(config, depth=2)
    student = new(small)
    warm_start("fold", student, small, source, config, x)
    torch.testing.assert_close(student.log_prob(x), source.log_prob(x), rtol=1e-4, atol=1e-4)


def test_the_linear_map_in_place_of_a_masked_one_keeps_the_order() -> None:
    true = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double()
    h = torch.randn(200, 4, generator=torch.Generator().manual_seed(1)).double()
    fit = Affine.fit_in_order(h, h @ true.tril().T + 3.0)
    torch.testing.assert_close(fit.matrix, true.tril(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fit.shift, torch.full((4,), 3.0).double(), rtol=1e-4, atol=1e-4)
    assert not Affine.fit_in_order(h, h @ true.T).matrix.triu(1).any()


def test_how_samples_are_decoded_is_no_matter() -> None:
    config = CONFIGS["splines"]
    check_warm_start("fold", smaller(config, width=8, decoding="jacobi"), config)
    with pytest.raises(ValueError, match="its source's direction, density; got sampling"):
        check_warm_start("fold", smaller(config, direction="sampling"), config)
    reversing = smaller(config, mix="reverse")
    with pytest.raises(ValueError, match="mix: linear, into which steps fold"):
        check_warm_start("fold", smaller(reversing, depth=1), reversing)
