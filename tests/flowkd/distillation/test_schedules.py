"""Properties of weights: what schedules do at their corners, and what is refused."""

import math

import pytest

from flowkd.config import parse_config
from flowkd.distillation.schedules import Cosine, Linear, LossWeights, Piecewise
from flowkd.errors import ConfigError


def test_a_cosine_falls_to_zero_and_stays_there():
    weight = Cosine(start=3.0, until=0.5)
    assert [weight.at(p) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([3, 1.5, 0, 0, 0])
    values = [Cosine(start=1.0).at(step / 100) for step in range(101)]
    assert values == sorted(values, reverse=True)


def test_a_ramp_is_a_line_and_then_level():
    weight = Linear(start=1.0, end=2.0, until=0.5)
    assert [weight.at(p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([1, 1.5, 2, 2])
    assert Linear(start=1.0, end=0.0).at(1.0) == 0.0


def test_a_piecewise_weight_holds_each_value_up_to_its_share():
    weight = Piecewise(values=(1.0, 3.0, 2.0), until=(0.25, 0.5, 1.0))
    assert [weight.at(p) for p in (0, 0.2, 0.25, 0.4, 0.5, 0.99, 1)] == [1, 1, 3, 3, 2, 2, 2]
    assert LossWeights(nll=0, latent=weight).ever("latent")
    assert not LossWeights(latent=Piecewise(values=(0.0, 0.0), until=(0.5, 1.0))).ever("latent")


def test_schedules_are_written_in_yaml():
    weights = parse_config(
        LossWeights,
        {
            "nll": 0.5,
            "latent": {"kind": "cosine", "start": 2},
            "samples": {"kind": "linear", "end": 1},
        },
        source="test",
    )
    at = weights.at(0.5)
    assert at == {
        **dict.fromkeys(LossWeights.model_fields, 0.0),
        "nll": 0.5, "samples": 0.5, "latent": pytest.approx(1.0),
    }  # fmt: skip


def test_what_counts_at_some_time():
    weights = LossWeights(
        nll=0.0, samples=Linear(end=1.0), latent=Linear(end=0.0), hints=Cosine(start=1)
    )
    assert weights.ever("samples")
    assert weights.ever("hints")
    assert not weights.ever("nll", "latent", "density")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"nll": 0}, "at least one term of a weight above 0; got none.*valid terms are nll, sam"),
        (
            {"nll": 0, "latent": {"kind": "linear", "end": 0}},
            "at least one term of a weight above 0",
        ),
        ({"nll": -1}, "nll"),
        ({"latent": math.inf}, "latent"),
        ({"latent": {"kind": "cosine", "start": 0}}, r"latent.*start"),
        ({"latent": {"kind": "cosine", "start": 1, "until": 2}}, r"latent.*until"),
        ({"latent": {"kind": "sine", "start": 1}}, r"latent.*cosine, linear, piecewise"),
        ({"latents": 1}, "latents: unknown key"),
        *(
            (
                {"latent": {"kind": "piecewise", "values": [1, 2], "until": until}},
                r"expected until as growing shares, one for each of 2 values",
            )
            for until in ([1], [0.5, 0.4], [0.5, 0.9], [0, 1])
        ),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        parse_config(LossWeights, weights, source="test")
