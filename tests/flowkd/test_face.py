"""What `import flowkd` gives: at once, without what it may not need, and with what users expect."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch

import flowkd
from flowkd.errors import ConfigError
from flowkd.registry.artifacts import load_artifact
from tests.support.small_flows import CONFIGS, small_batch, small_flow

NAMES = {
    "Flow", "FlowkdError", "Hint", "LossWeights", "Store", "adapt", "autoregressive",
    "bits_per_dim", "convert", "coupling", "distill", "fit", "for_inference", "glow", "load",
    "publish",
}  # fmt: skip


def alone(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_brings_nothing_along_and_changes_nothing():
    code = (
        "import os, sys; before = dict(os.environ); known = set(sys.modules)\n"
        "import flowkd; new = {name.split('.')[0] for name in set(sys.modules) - known}\n"
        "assert dict(os.environ) == before; print(*sorted(new - sys.stdlib_module_names))"
    )
    assert alone(code).split() == ["flowkd"]


def test_a_flow_needs_neither_ray_nor_typer_nor_matplotlib():
    code = (
        "import os, sys, flowkd; before = dict(os.environ)\n"
        "flow = flowkd.coupling(3, depth=1, width=4); flowkd.fit; flowkd.load\n"
        "assert dict(os.environ) == before\n"
        "print([name for name in ('ray', 'typer', 'matplotlib') if name in sys.modules])"
    )
    assert alone(code).strip() == "[]"


def test_names_are_listed_for_completion_and_wrong_ones_are_answered():
    assert set(dir(flowkd)) - {"__version__"} == NAMES == set(flowkd.__all__) - {"__version__"}
    for name in NAMES:
        assert getattr(flowkd, name).__doc__
    with pytest.raises(AttributeError, match=r"no attribute 'destill'; it has .*'distill'"):
        flowkd.destill  # noqa: B018


def test_types_are_known(tmp_path):
    file = tmp_path / "uses.py"
    file.write_text(
        "import flowkd\nflow = flowkd.glow((3, 8, 8), levels=2)\nreveal_type(flow)\n"
        "reveal_type(flowkd.fit(flow, flow.sample(3)))\nflowkd.glow(8)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 'note: Revealed type is "flowkd.flows.flow.Flow"' in done.stdout, done.stdout
    assert 'note: Revealed type is "flowkd.training.in_memory.History"' in done.stdout
    assert 'error: Argument 1 to "glow" has incompatible type "int"' in done.stdout


@pytest.fixture(params=CONFIGS)
def flow(request):
    return small_flow(request.param)


@pytest.mark.parametrize("form", ["as built", "for inference"])
def test_a_flow_is_copied_pickled_and_converted(flow, form):
    x, context = small_batch(flow)
    flow = flow if form == "as built" else flowkd.for_inference(flow)
    expected = flow.log_prob(x, context).detach()
    copies = [copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))]
    again = copy.deepcopy(flow)
    with torch.no_grad():
        for value in again.state_dict().values():
            value.zero_()
    file = io.BytesIO()
    torch.save(flow.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    for each in (*copies, again, flow.to("cpu")):
        assert torch.equal(each.log_prob(x, context), expected)
        assert each.config == flow.config
    low = copy.deepcopy(flow).float()
    context = context if context is None or not context.is_floating_point() else context.float()
    assert low.log_prob(x.float(), context).dtype == torch.float32
    assert low.double().log_prob(x, context).dtype == torch.float64


def test_a_sample_has_no_gradient_and_an_rsample_has(flow):
    _, context = small_batch(flow, rows=3)
    seeded = [torch.Generator().manual_seed(0) for _ in range(2)]
    x = flow.sample(3, context, generator=seeded[0])
    y = flow.rsample(3, context, generator=seeded[1])
    torch.testing.assert_close(x, y.detach(), rtol=1e-12, atol=1e-12)
    assert not x.requires_grad
    y.sum().backward()
    assert any(parameter.grad is not None for parameter in flow.parameters())


def test_what_is_shown_is_short_and_says_what_it_is():
    flow = flowkd.glow((1, 8, 8), levels=2, depth=2, width=8, classes=3)
    assert repr(flow) == (
        "Flow(glow, (1, 8, 8), depth 2, width 8, levels 2, given int64 classes (B,) below 3; "
        f"{sum(p.numel() for p in flow.parameters()):,} parameters)"
    )
    encoding = flow(flow.sample(2, torch.tensor([0, 1])), torch.tensor([0, 1]), taps=["squeeze0"])
    assert repr(encoding).startswith("Encoding(z (2, 16, 2, 2), mean log_prob ")
    assert repr(encoding).endswith(" nats, states at squeeze0)")


def test_a_flow_is_published_and_loaded(memory_store):
    flow = flowkd.coupling(3, depth=2, width=4, mean=1.0, scale=2.0)
    reference = flowkd.publish(flow, "toy", store=memory_store.uri, metrics={"bits_per_dim": 1.5})
    x = flow.sample(4)
    for name in (reference, "models/toy@best"):
        assert torch.equal(flowkd.load(name, store=memory_store).log_prob(x), flow.log_prob(x))
    artifact, version = load_artifact(memory_store, "models/toy@best"), reference.split("@")[1]
    assert repr(artifact) == f"Artifact(models/toy@best, version {version}, {flow!r})"
    for bad in (flowkd.for_inference(flow), flowkd.coupling(3)):
        with pytest.raises(ConfigError, match="expected a flow"):
            flowkd.publish(bad, "toy", store=memory_store)
