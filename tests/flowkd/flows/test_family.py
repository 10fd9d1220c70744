"""A flow family is added in one place: its own file, and one line that lists it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowkd.flows.build import build_flow, count_parameters, smaller
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig
from tests.support import ROOT

OWN_FILE = '''
"""Additive couplings (NICE, 2015, https://arxiv.org/abs/1410.8516), as somebody would add them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from flowkd.bijectors import Bijector, Permute
from flowkd.flows.family import FlowConfig
from flowkd.flows.inference import inference_form


class Additive(Bijector):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.kept = size // 2
        inputs, outputs = self.kept, size - self.kept
        self.net = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))
        self.register_buffer("seen", torch.zeros(()))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.seen.add_(1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        return torch.cat([kept, changed + self.net(kept)], 1), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        return torch.cat([kept, changed - self.net(kept)], 1), z.new_zeros(len(z))


class Fast(Additive):
    pass


@inference_form.register
def _(bijector: Additive, shape: tuple[int, ...]) -> Bijector:
    fast = Fast(2, 1)
    fast.kept, fast.net = bijector.kept, bijector.net
    return fast


class NiceConfig(FlowConfig):
    kind: Literal["nice"] = "nice"
    depth: int = 2
    width: int = 8

    def build_bijectors(self) -> dict[str, Bijector]:
        assert self.event_shape is not None
        size = self.event_shape[0]
        chain: dict[str, Bijector] = {}
        for step in range(self.depth):
            chain[f"reverse{step}"] = Permute(list(reversed(range(size))))
            chain[f"add{step}"] = Additive(size, self.width)
        return chain

    def scaled(self, depth: float, width: float) -> NiceConfig:
        changes = {"depth": max(1, round(self.depth * depth))}
        return self.model_copy(update={**changes, "width": max(1, round(self.width * width))})
'''
USES = """
import torch, yaml
import flowkd
from flowkd.config import parse_config
from flowkd.flows.nice import Fast, NiceConfig
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.setup import run_in_process
from tests.support.small_runs import furnish, training

store = Store("memory://families")
furnish(store)
text = "{kind: nice, depth: 4, width: 16, context: ignore}"
list(run_in_process(training("nice", flow=yaml.safe_load(text)), store))  # from YAML
publish_run(PublishConfig(model="nice", source="runs/nice", force=True), store)  # to a model
teacher = flowkd.load("models/nice@best", store=store)
assert isinstance(teacher.config, NiceConfig), teacher
assert teacher.chain["add0"].seen == 1  # initialized, once
x = teacher.sample(200)
fast = flowkd.for_inference(teacher)
assert isinstance(fast.chain["add0"], Fast)
torch.testing.assert_close(fast.log_prob(x), teacher.log_prob(x))
weights = {"nll": 1, "latent": 0.1, "hints": 0.1}
hints = [flowkd.Hint(student="add0", teacher="add1")]
options = {"steps": 5, "batch_size": 20, "progress": False}
student = flowkd.distill(teacher, x, share=0.5, weights=weights, hints=hints, **options)
print(student)
try:
    flowkd.distill(teacher, x, warm_start="fold", **options)
except flowkd.FlowkdError as error:
    print(error)
"""


def test_a_family_is_its_own_file_and_one_line(tmp_path: Path) -> None:
    """It is trained from YAML, published, loaded, made fast, shrunk and distilled."""
    for package in ("flowkd", "tests/support"):
        shutil.copytree(ROOT / package, tmp_path / package)
    (tmp_path / "flowkd/flows/nice.py").write_text(OWN_FILE.lstrip())
    listed = tmp_path / "flowkd/flows/configs.py"
    line = "    CouplingConfig,\n)"
    text = listed.read_text()
    assert line in text
    text = text.replace(line, "    CouplingConfig,\n    NiceConfig,\n)")
    imported = "from flowkd.flows.glow import GlowConfig\n"
    listed.write_text(
        text.replace(imported, f"{imported}from flowkd.flows.nice import NiceConfig\n")
    )
    (tmp_path / "tests/__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", USES], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made, refused = done.stdout.splitlines()
    assert made.startswith("Flow(nice, (4,), depth 3, width")
    assert "expected a warm start that flows of kind nice have: none; got fold" in refused


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(
    "config",
    [
        GlowConfig(event_shape=(3, 8, 8), levels=2, depth=(6, 4), width=(64, 32), mean=0, scale=1),
        CouplingConfig(event_shape=(8,), depth=8, width=96, inner=48, mean=0, scale=1),
    ],
    ids=["glow", "coupling"],
)
def test_a_smaller_flow_is_of_its_share_and_nearly_all_of_it(config, share):
    most = share * count_parameters(build_flow(config))
    small = smaller(config, share)
    assert 0.75 * most < count_parameters(build_flow(small)) <= most
    assert type(small) is type(config)
    assert [size.depth for size in small.level_sizes] == [
        round(size.depth * share**config.depth_power) for size in config.level_sizes
    ]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_smaller_glow_has_less_of_the_work_than_of_the_parameters_and_even_widths(share):
    config = GlowConfig(event_shape=(3, 32, 32), depth=4, width=128, mean=0, scale=1)
    small = smaller(config, share)
    widths = [size.width for size in small.level_sizes]
    assert small.work < share * config.work
    assert widths == sorted(widths)
    assert all(width % 16 == 0 for width in widths)


@pytest.mark.parametrize(
    "config",
    [
        GlowConfig(event_shape=(3, 8, 8), levels=2, depth=(2, 3), width=(8, 6), inner=(4, 3)),
        CouplingConfig(event_shape=(5,), depth=2, width=7, transform="spline", bins=4),
    ],
    ids=["glow", "coupling"],
)
def test_work_is_each_weight_of_the_networks_at_each_place(config):
    flow = build_flow(config.model_copy(update={"mean": 0.0, "scale": 1.0}))
    products = []
    for name, module in flow.named_modules():
        if "step" in name and name.rpartition(".")[2] in ("first", "middle", "last"):
            places = 1 if len(config.event_shape) == 1 else 16 if "level0" in name else 4
            products.append(places * module.weight.numel())
    assert config.work == sum(products)


@pytest.mark.parametrize("share", [0, 1, -0.5, 2, 1e-6])
def test_a_share_that_no_flow_has_is_refused(share):
    config = CouplingConfig(event_shape=(8,), depth=8, width=96, mean=0, scale=1)
    with pytest.raises(ValueError, match=r"expected a share .*; got"):
        smaller(config, share)
