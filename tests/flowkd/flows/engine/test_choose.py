"""Which engine computes a flow: chosen, built once, checked, and torch where it cannot be."""

from __future__ import annotations

import warnings

import pytest
import torch

import flowkd
from flowkd.bijectors import AffineCoupling, Chain, Standardize
from flowkd.errors import ConfigError
from flowkd.flows.engine import choose, kept
from flowkd.flows.engine.choose import EngineError
from flowkd.flows.engine.graphs import weights_digest
from flowkd.flows.flow import Flow
from flowkd.nn import Conditioner
from tests.support.small_flows import randomise

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def _auto(monkeypatch, tmp_path):
    """`auto` as users have it, and an empty cache."""
    monkeypatch.delenv("FLOWKD_ENGINE")
    monkeypatch.setenv("FLOWKD_CACHE", str(tmp_path))


def table(seed: int = 0) -> Flow:
    return randomise(flowkd.coupling(3, depth=1, width=4, mean=0.0, scale=1.0, seed=seed), by=0.1)


def engines(root) -> list[str]:
    return sorted(path.name for path in (root / "engines").iterdir())


class Foreign(Conditioner):
    """A network of somebody's own, of which no graph can be made."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, kept, context=None):
        return self.scale * torch.tensor([kept.tolist()])[0].repeat(1, 2)


def foreign() -> Flow:
    preprocess = Standardize(0.0, 1.0)
    return Flow(Chain({"preprocess": preprocess, "coupling": AffineCoupling(Foreign(), 1)}), (2,))


def test_graphs_are_built_once_for_the_weights_and_kept(tmp_path, monkeypatch):
    flow, x = table(), torch.randn(4, 3)
    first = flowkd.for_inference(flow)
    assert first.engine.name == "onnx"
    assert engines(tmp_path) == [weights_digest(flow)]
    monkeypatch.setattr(choose, "write_graphs", None)  # is not called again
    assert torch.equal(flowkd.for_inference(flow).log_prob(x), first.log_prob(x))
    with torch.no_grad():
        next(flow.parameters()).add_(1e-3)
    assert weights_digest(flow) not in engines(tmp_path)


@pytest.mark.parametrize("damage", ["weights cut off", "weights altered", "of another flow"])
def test_graphs_that_are_not_the_flows_are_built_again(tmp_path, damage):
    flow, x = table(), torch.randn(4, 3)
    expected = flow.log_prob(x).detach()
    flowkd.for_inference(flow)
    folder = tmp_path / "engines" / weights_digest(flow)
    if damage == "of another flow":
        flowkd.for_inference(table(seed=1))
        other = tmp_path / "engines" / weights_digest(table(seed=1))
        for file in other.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    else:
        graph = folder / "log_prob.onnx"
        data = bytearray(graph.read_bytes())
        if damage == "weights altered":
            place = data.index(next(flow.parameters()).new_tensor(0.0).numpy().tobytes(), 300)
            data[place : place + 4] = b"\x00\x00\x80\x3f"
        graph.write_bytes(data[: len(data) // 2] if damage == "weights cut off" else data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = flowkd.for_inference(flow)
    assert again.engine.name == "onnx"
    torch.testing.assert_close(again.log_prob(x), expected, rtol=1e-5, atol=1e-5)


def test_a_flow_that_does_not_export_is_computed_by_torch_and_not_tried_again(monkeypatch):
    flow, x = foreign(), torch.randn(4, 2)
    with pytest.warns(UserWarning, match="torch computes this flow, more slowly: a layer of it"):
        fast = flowkd.for_inference(flow)
    assert fast.engine is None
    torch.testing.assert_close(fast.log_prob(x), flow.log_prob(x))
    monkeypatch.setattr(choose, "write_graphs", None)
    with pytest.warns(UserWarning, match="does not export"):
        flowkd.for_inference(flow)
    with pytest.raises(EngineError, match="does not export"):
        flowkd.for_inference(flow, "onnx")


def test_an_engine_whose_density_is_another_is_not_taken(monkeypatch):
    monkeypatch.setattr(choose, "agrees", lambda *_: False)
    with pytest.warns(UserWarning, match="further than 1e-05"):
        assert flowkd.for_inference(table()).engine is None


def test_a_density_that_is_off_by_more_than_rounding_is_seen():
    flow = table()
    form = flowkd.for_inference(flow)
    assert choose.agrees(form.engine, flow, flowkd.for_inference(flow, "torch"))
    with torch.no_grad():
        next(flow.chain["step0.coupling"].conditioner.last.parameters()).add_(1e-3)
    assert not choose.agrees(form.engine, flow, flowkd.for_inference(flow, "torch"))


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_without_a_package_torch_computes_and_the_extra_is_named(monkeypatch, package):
    found = choose.find_spec
    monkeypatch.setattr(choose, "find_spec", lambda name: None if name == package else found(name))
    with pytest.warns(UserWarning, match=rf"{package} is not installed: pip install 'flowkd\[onnx"):
        assert flowkd.for_inference(table()).engine is None
    with pytest.raises(EngineError, match="is not installed"):
        flowkd.for_inference(table(), "onnx")


def test_a_flow_in_float64_is_computed_by_torch_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert flowkd.for_inference(table().double()).engine is None
    with pytest.raises(EngineError, match="in float32 on a CPU"):
        flowkd.for_inference(table().double(), "onnx")


def test_the_environment_says_what_auto_is(monkeypatch):
    monkeypatch.setenv("FLOWKD_ENGINE", "torch")
    assert flowkd.for_inference(table()).engine is None
    assert flowkd.for_inference(table(), "onnx").engine is not None
    monkeypatch.setenv("FLOWKD_ENGINE", "tensorrt")
    with pytest.raises(ConfigError, match="FLOWKD_ENGINE: expected one of auto, torch, onnx"):
        flowkd.for_inference(table())


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOWKD_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be kept.*set FLOWKD_CACHE"):
        assert flowkd.for_inference(table()).engine is None


def test_what_was_used_longest_ago_goes_where_there_is_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "LIMIT_BYTES", 250)

    def build(folder):
        (folder / "graph").write_bytes(bytes(100))

    for name in ("a", "b", "a", "c"):
        kept.keep(name, build)
    assert engines(tmp_path) == ["a", "c"]


def test_what_is_interrupted_is_not_kept(tmp_path):
    def build(folder):
        (folder / "half").write_bytes(b"")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.keep("a", build)
    assert engines(tmp_path) == []
