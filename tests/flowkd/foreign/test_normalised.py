"""A log_prob that does not integrate to 1 is found, of flows with latents and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import flowkd
from flowkd.errors import ConversionError
from flowkd.flows.context import example_context
from flowkd.foreign.normalised import integral, log_prob_by_volume
from flowkd.foreign.teachers import adapted
from flowkd.foreign.units import Units
from tests.support.foreign_flows import D, T, Z, moved, nflows_of, same


class Forgetful(T.PointwiseAffineTransform):
    """Forgets a part of its log-determinant, both ways."""

    def forward(self, inputs: Any, context: Any = None) -> Any:
        outputs, log_det = super().forward(inputs)
        return outputs, 0.9 * log_det


class Doubled(Z.NCSF):
    """Says twice the density; has no latents."""

    def forward(self, c: Any = None) -> Any:
        whole = super().forward(c)
        log_prob = whole.log_prob
        whole.log_prob = lambda x: log_prob(x) + 0.7
        return whole


def forgetful() -> nn.Module:
    layers = (
        T.MaskedAffineAutoregressiveTransform(D, 8),
        Forgetful(torch.zeros(1), torch.ones(D) * 2),
    )
    return nflows_of(*layers)


def doubled() -> nn.Module:
    return moved(lambda: Doubled(3, transforms=1, hidden_features=(8,)), 0.1)


WRONG: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a layer's log-determinant": (forgetful, r"nflows .* Flow: .* off by -0\.347 nats from that"),
    "a density without latents": (doubled, r"zuko .* Doubled: .* integrates to 1; got (1\.9|2)"),
}


@pytest.mark.parametrize(("build", "words"), WRONG.values(), ids=WRONG)
def test_a_teacher_that_is_no_density_is_refused(build: Any, words: str) -> None:
    with pytest.raises(ConversionError, match=words) as caught:
        flowkd.adapt(build())
    assert "\n" not in str(caught.value)


def test_a_flow_that_is_no_density_does_not_become_one() -> None:
    with pytest.raises(ConversionError):
        flowkd.convert(forgetful())


@pytest.mark.parametrize("name", ["zuko MAF | context", "nflows MAF"])
def test_integrals_of_densities_are_one(name: str) -> None:
    teacher = adapted(same(name), Units(mean=3.0, scale=2.0)).double()
    one = example_context(teacher.context, teacher.context_units, 1)
    found = integral(teacher, one, torch.Generator().manual_seed(0))
    assert found is not None
    assert found.effective > 300
    assert abs(found.value - 1) < 3 * found.error + 0.01


@pytest.mark.parametrize("name", ["zuko NSF", "nflows NSF-C | context"])
def test_the_volume_that_a_map_takes_up_is_its_density(name: str) -> None:
    teacher = adapted(same(name), Units(scale=3.0)).double()
    context = example_context(teacher.context, teacher.context_units, 4)
    x = teacher.sample(4, context, generator=torch.Generator().manual_seed(0))
    known = log_prob_by_volume(teacher, x, context)
    torch.testing.assert_close(teacher.log_prob(x, context), known, rtol=1e-6, atol=1e-6)
    assert log_prob_by_volume(teacher, x, context, stop=0.0) is None


def test_where_nothing_can_be_told_a_remark_says_so() -> None:
    assert flowkd.adapt(same("zuko NSF")).remarks == []
    for name, why in {
        "normflows Glow": "it has no latents, and more than 8 columns",
        "nflows NSF-AR | context": "it has neither latents nor samples",
    }.items():
        (remark,) = flowkd.adapt(same(name)).remarks
        assert remark == f"it was not checked that its log_prob integrates to 1: {why}"
