"""Which engine computes a flow: chosen, built once, checked, and torch where it cannot be."""

from __future__ import annotations

import os
import shutil
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

import flowkd
from flowkd.bijectors import Chain, Coupling, Standardize
from flowkd.errors import ConfigError
from flowkd.flows.engine import choose, kept
from flowkd.flows.engine.choose import EngineError
from flowkd.flows.engine.graphs import weights_digest
from flowkd.flows.flow import Flow
from flowkd.nn import Conditioner
from tests.support.small_flows import randomise

pytest.importorskip("onnxruntime")


def table(seed: int = 0) -> Flow:
    return randomise(flowkd.coupling(3, depth=1, width=32, mean=0.0, scale=1.0, seed=seed), by=0.1)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A cache in which two tables are: to build them takes seconds."""
    place = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWKD_CACHE", str(place))
        for seed in (0, 1):
            flowkd.for_inference(table(seed), "onnx")
    return place


@pytest.fixture(autouse=True)
def _auto(monkeypatch, tmp_path, built):
    """`auto` as users have it, and a cache of this test's own."""
    monkeypatch.delenv("FLOWKD_ENGINE")
    monkeypatch.setenv("FLOWKD_CACHE", str(tmp_path))
    shutil.copytree(built / "engines", tmp_path / "engines")


@pytest.fixture
def not_built_again(monkeypatch) -> None:
    def build(*_):
        raise AssertionError("built again")

    monkeypatch.setattr(choose, "write_graphs", build)


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
    return Flow(Chain({"preprocess": preprocess, "coupling": Coupling(Foreign(), 1)}), (2,))


def test_graphs_are_built_once_for_the_weights_and_kept(tmp_path, not_built_again):
    flow = table()
    assert engines(tmp_path) == sorted(weights_digest(table(seed)) for seed in (0, 1))
    assert flowkd.for_inference(flow).engine.name == "onnx"
    with torch.no_grad():
        next(flow.parameters()).add_(1e-3)
    assert weights_digest(flow) not in engines(tmp_path)


@pytest.mark.parametrize("damage", ["a graph is cut off", "weights are altered"])
def test_graphs_that_are_damaged_are_built_again(tmp_path, built, monkeypatch, damage):
    flow, x = table(), torch.randn(4, 3)
    folder = tmp_path / "engines" / weights_digest(flow)
    graph, weights = folder / "log_prob.onnx", folder / "weights.bin"
    if damage == "a graph is cut off":
        graph.write_bytes(graph.read_bytes()[:-100])
    else:
        weights.write_bytes(bytes(weights.stat().st_size))

    def build(flow: Flow, folder: Path) -> None:  # the real one's outcome, without its seconds
        whole = built / "engines" / weights_digest(flow)
        shutil.copytree(whole, folder, dirs_exist_ok=True)

    monkeypatch.setattr(choose, "write_graphs", build)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = flowkd.for_inference(flow)
    assert again.engine.name == "onnx"
    torch.testing.assert_close(again.log_prob(x), flow.log_prob(x).detach(), rtol=1e-5, atol=1e-5)


def test_graphs_of_another_flow_are_not_taken_for_this_ones(tmp_path, monkeypatch):
    folder, other = (tmp_path / "engines" / weights_digest(table(seed)) for seed in (0, 1))
    for file in other.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(choose, "write_graphs", lambda *_: None)  # builds nothing that opens
    with pytest.warns(UserWarning, match="further than 1e-05 from torch's"):
        assert flowkd.for_inference(table()).engine is None


def test_a_flow_that_does_not_export_is_computed_by_torch_and_not_tried_again(request):
    flow, x = foreign(), torch.randn(4, 2)
    with pytest.warns(UserWarning, match="torch computes this flow, more slowly: a layer of it"):
        fast = flowkd.for_inference(flow)
    assert fast.engine is None
    torch.testing.assert_close(fast.log_prob(x), flow.log_prob(x))
    request.getfixturevalue("not_built_again")
    with pytest.warns(UserWarning, match="does not export"):
        flowkd.for_inference(flow)
    with pytest.raises(EngineError, match="does not export"):
        flowkd.for_inference(flow, "onnx")


def test_a_density_that_is_off_by_more_than_rounding_is_seen():
    flow = table()
    form = flowkd.for_inference(flow)
    assert choose.agrees(form.engine, flow, flowkd.for_inference(flow, "torch"))
    with torch.no_grad():
        next(flow.chain["step0.coupling"].conditioner.last.parameters()).add_(1e-3)
    assert not choose.agrees(form.engine, flow, flowkd.for_inference(flow, "torch"))


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_without_a_package_torch_computes_and_the_extra_is_named(monkeypatch, tmp_path, package):
    shutil.rmtree(tmp_path / "engines")
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
    shutil.rmtree(tmp_path / "engines")
    monkeypatch.setattr(kept, "LIMIT_BYTES", 250)

    def build(folder):
        (folder / "graph").write_bytes(bytes(100))

    for second, name in enumerate(("a", "b")):
        os.utime(kept.keep(name, build), (second, second))
    for name in ("a", "c"):
        kept.keep(name, build)
    assert engines(tmp_path) == ["a", "c"]


def test_of_two_that_ask_at_once_one_builds(tmp_path):
    began, built_by = threading.Barrier(2), []

    def build(folder: Path) -> None:
        built_by.append(threading.current_thread())
        time.sleep(0.05)  # long enough for the other to come
        (folder / "graph").write_bytes(b"")

    def ask() -> None:
        began.wait()
        kept.keep("a", build)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built_by) == 1
    assert "a" in engines(tmp_path)


def test_what_is_interrupted_is_not_kept(tmp_path):
    def build(folder):
        (folder / "half").write_bytes(b"")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.keep("a", build)
    assert len(engines(tmp_path)) == 2


def test_flows_that_differ_in_what_their_couplings_apply_alone_share_no_graphs():
    splines = [
        flowkd.coupling(3, depth=1, width=4, transform="spline", bound=bound)
        for bound in (3.0, 3.0, 4.0)
    ]
    same, again, other = map(weights_digest, splines)
    assert same == again != other
