"""What is exported is the flow, for programs that know nothing of flowkd."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import flowkd
from flowkd.errors import ConfigError, FlowkdError
from flowkd.flows.engine import export
from flowkd.flows.engine.export import export_flow
from jobs.cli.main import app
from tests.support.small_flows import small_batch, small_flow

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def flow():
    return small_flow("coupling of a vector", dtype=torch.float32)


def test_a_published_flow_is_exported_for_a_program_without_flowkd(memory_store, tmp_path, flow):
    flow = flowkd.glow((1, 8, 8), levels=1, depth=1, width=16, classes=3, mean=8.0, scale=16.0)
    reference = flowkd.publish(flow, "toy", store=memory_store)
    command = ["models", "export", "models/toy@best", "--store", memory_store.uri]
    done = CliRunner().invoke(app, [*command, "--to", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told == {
        "folder": str(tmp_path / "out"),
        **json.loads((tmp_path / "out/export.json").read_text()),
    }
    assert (told["reference"], told["classes"]) == (reference, 3)
    x, context = 16 * torch.rand(5, 1, 8, 8), torch.arange(5) % 3
    run = onnxruntime.InferenceSession(str(tmp_path / "out/log_prob.onnx")).run
    log_prob, z = run(["log_prob", "z"], {"x": x.numpy(), "context": context.numpy()})
    np.testing.assert_allclose(log_prob, flow.log_prob(x, context).detach(), rtol=1e-5)
    run = onnxruntime.InferenceSession(str(tmp_path / "out/inverse.onnx")).run
    np.testing.assert_allclose(run(["x"], {"z": z, "context": context.numpy()})[0], x, atol=1e-3)


def test_weights_are_stored_once(tmp_path):
    flow = flowkd.coupling(4, depth=1, width=64, mean=0.0, scale=1.0)
    export_flow(flow.double(), tmp_path / "out", "onnx")
    assert {value.dtype for value in flow.parameters()} == {torch.float64}  # is left alone
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "out").iterdir()}
    assert set(sizes) == {"log_prob.onnx", "inverse.onnx", "weights.bin", "export.json"}
    assert sizes["weights.bin"] < 1.5 * 4 * sum(value.numel() for value in flow.parameters())
    assert sizes["log_prob.onnx"] + sizes["inverse.onnx"] < sizes["weights.bin"] * 4


def test_torchs_own_programs_run_where_flowkd_is_not_imported(tmp_path, flow):
    export_flow(flow, tmp_path / "out", "torch-export")
    x, context = small_batch(flow, 7, dtype=torch.float32)
    torch.save((x, context), tmp_path / "given")
    program = (
        "import sys, torch; x, c = torch.load('given')\n"
        "log_prob, z = torch.export.load('out/log_prob.pt2').module()(x, c.double())\n"
        "back = torch.export.load('out/inverse.pt2').module()(z, c.double())\n"
        "torch.save((log_prob, back), 'made'); assert 'flowkd' not in sys.modules"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    log_prob, back = torch.load(tmp_path / "made")
    torch.testing.assert_close(log_prob, flow.log_prob(x, context).detach(), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(back, x, rtol=1e-3, atol=1e-3)


def test_what_is_there_is_not_written_over_and_nothing_half_made_is_left(
    tmp_path, monkeypatch, flow
):
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="not there yet"):
        export_flow(flow, tmp_path / "out", "onnx")
    monkeypatch.setattr(export, "agrees", lambda *_: False)
    with pytest.raises(FlowkdError, match="further than 1e-5"):
        export_flow(flow, tmp_path / "new", "torch-export")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
