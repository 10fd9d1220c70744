"""Pieces are traced once on a machine, whatever their weights, and never taken for others."""

from __future__ import annotations

import os

import pytest
import torch

import flowkd
from flowkd.flows.engine import traced
from flowkd.flows.engine.graphs import example_inputs
from flowkd.flows.engine.layers import Exported
from flowkd.flows.engine.pieces import Pieces
from flowkd.flows.flow import Flow
from tests.support.own_network import OwnNetwork, one_coupling
from tests.support.small_flows import randomise

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def table(seed: int = 0, depth: int = 2) -> Flow:
    flow = flowkd.coupling(3, depth=depth, width=8, mean=0.0, scale=1.0, seed=seed)
    return randomise(flow, seed, by=0.1)


@pytest.fixture
def traced_names(monkeypatch, tmp_path) -> list[list[str]]:
    """What was traced, call by call, into a cache of this test's own."""
    monkeypatch.setenv("FLOWKD_CACHE", str(tmp_path / "cache"))
    calls, trace = [], traced._traced

    def noted(pieces):
        calls.append([type(piece.module).__name__ for piece in pieces])
        return trace(pieces)

    monkeypatch.setattr(traced, "_traced", noted)
    return calls


@torch.no_grad()
def agreeing(flow: Flow) -> None:
    form, x = flowkd.for_inference(flow, "onnx"), torch.randn(5, *flow.event_shape)
    torch.testing.assert_close(form.log_prob(x), flow.log_prob(x), rtol=1e-5, atol=1e-4)


def test_other_weights_and_more_steps_are_put_together_of_what_was_traced(traced_names, tmp_path):
    agreeing(table())
    assert len(traced_names) == 1
    agreeing(table(seed=1))
    assert len(traced_names) == 1
    agreeing(table(depth=4))
    assert traced_names[1:] == [["LogDensity"]]  # which adds more numbers
    for path in (tmp_path / "cache" / "pieces").iterdir():
        assert traced._read(path.name) is not None
        path.write_bytes(path.read_bytes()[:-9])  # damaged
        assert traced._read(path.name) is None


def test_code_of_somebodys_own_is_traced_again():
    pieces = Pieces(Exported(one_coupling(OwnNetwork())))
    pieces.record("inverse", *example_inputs(one_coupling(OwnNetwork()), "inverse"))
    kept = {type(piece.module.piece).__name__: piece.structure for piece in pieces.distinct}
    assert kept["Coupled"] is None
    assert kept["AsItIs"] is not None


def test_the_least_recently_used_pieces_go(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWKD_CACHE", str(tmp_path))
    monkeypatch.setattr(traced, "MOST_KEPT", 4)
    for second, name in enumerate("abcd"):
        traced._write(name, onnx.ModelProto())
        os.utime(tmp_path / "pieces" / name, (second, second))
    assert traced._read("a") is not None  # used now
    traced._write("e", onnx.ModelProto())
    assert {path.name for path in (tmp_path / "pieces").iterdir()} == {"a", "d", "e"}
