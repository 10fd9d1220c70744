"""What a converted flow says of its size, in the form of flowkd's own."""

from __future__ import annotations

import pytest

import flowkd
from flowkd.flows.build import config_of, describe_flow
from flowkd.flows.converted.config import ConvertedConfig
from flowkd.flows.in_words import family_of
from tests.support.foreign_flows import normflows_glow, same

SAID = {
    "zuko NSF | context": ("context_size 3, ", ", K 2, width 8, transform spline"),
    "nflows MAF": ("", ", K 2, width 8"),
    "nflows Glow of residual convolutions": ("", ", K 1, width 6, L 2"),
    "nflows, linear maps": ("", ", transform spline"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_converted_flow_is_described_by_its_networks_their_units_and_its_levels(
    name: str,
) -> None:
    flow, (before, after) = flowkd.convert(same(name)), SAID[name]
    config = config_of(flow)
    assert isinstance(config, ConvertedConfig)
    assert describe_flow(config) == f"converted, {before}origin {config.origin}{after}"
    assert family_of(flow) == f"converted, {'spline' if 'spline' in after else 'affine'}"


def test_a_smaller_one_is_described_by_what_is_left() -> None:
    config = config_of(flowkd.convert(same("zuko RealNVP")))
    assert describe_flow(config.scaled(2 / 3, 0.5)).endswith("RealNVP, K 2, width 4")
    glow = config_of(flowkd.convert(normflows_glow(depth=2)))
    assert describe_flow(glow.scaled(0.5, 0.5)).endswith("K 1, width 3, L 2")
    assert describe_flow(glow.scaled(0.75, 1.0)).endswith("K (2, 1), width 6, L 2")
    layers = [layer.model_copy() for layer in glow.layers]
    first = next(n for n, layer in enumerate(layers) if layer.kind == "coupling")
    layers[first] = glow.scaled(1.0, 0.5).layers[first]
    mixed = glow.model_copy(update={"layers": tuple(layers)})
    assert describe_flow(mixed).endswith("K 2, width 3 to 6, L 2")
