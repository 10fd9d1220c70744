"""Flows of other libraries as teachers that their own library computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zuko
from nflows import distributions, flows
from nflows.nn.nets import ConvResidualNet
from torch import nn

import flowkd
from cluster.storage import StorageConfig
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.distillation.losses import Distillation
from flowkd.distillation.schedules import LossWeights
from flowkd.distillation.teacher_samples import FreshSamples, draw_samples
from flowkd.errors import ConfigError, ConversionError
from flowkd.flows.build import new_flow
from flowkd.flows.context import ContextSpec
from flowkd.flows.coupling import CouplingConfig
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from jobs.checks import check_job, needs
from tests.support.foreign_flows import (
    CONTEXT,
    SAME,
    T,
    Z,
    moved,
    nflows_picture_splines,
    nflows_pictures,
    normflows_glow,
    same,
)

STUDENT = CouplingConfig(depth=2, width=8)


def circular() -> nn.Module:
    """Splines on a circle, over a uniform base: flowkd has neither."""
    return Z.NCSF(3, transforms=1, hidden_features=(8,))


def continuous(context: int = 0) -> nn.Module:
    return Z.CNF(2, context, hidden_features=(8,))


def angles(rows: int = 200) -> torch.Tensor:
    return 2 * torch.rand(rows, 3, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize(
    "name",
    [
        "zuko NSF | context",
        "nflows NSF-AR | context",
        "nflows MAF",
        "normflows splines | context",
        "normflows Glow of classes",
    ],
)
@torch.no_grad()
def test_an_adapter_says_what_the_converted_flow_says(name: str) -> None:
    module = same(name).double()
    flow, teacher = flowkd.convert(module), flowkd.adapt(module)
    assert (teacher.event_shape, teacher.context) == (flow.event_shape, flow.context)
    context = None
    if flow.context.classes:
        context = torch.arange(8) % flow.context.classes
    elif flow.context.size:
        context = torch.randn(8, flow.context.size, dtype=torch.float64)
    x = flow.sample(8, context)
    torch.testing.assert_close(teacher.log_prob(x, context), flow.log_prob(x, context))
    if "latents" in teacher.abilities:
        torch.testing.assert_close(teacher(x, context).z, flow(x, context).z)
        torch.testing.assert_close(teacher.inverse(flow(x, context).z, context), x)
    if "samples" in teacher.abilities:
        assert teacher.sample(8, context).shape == x.shape
    else:  # of this base nflows has none
        with pytest.raises(ValueError, match="expected what a Flow has, log_prob; got samples"):
            teacher.sample(8, context)


def test_abilities_are_what_a_flow_can_do() -> None:
    assert flowkd.adapt(circular()).abilities == {"samples"}
    assert flowkd.adapt(continuous()).abilities == {"samples", "latents", "decoding"}
    assert flowkd.adapt(normflows_glow()).abilities == {"samples"}


@torch.no_grad()
def test_a_flow_of_pictures_with_levels_teaches_as_it_is() -> None:
    module = moved(nflows_pictures, 0.1)
    teacher = flowkd.adapt(module)
    assert (teacher.event_shape, teacher.abilities) == ((1, 8, 8), {"samples"})
    x = teacher.sample(4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(teacher.log_prob(x), module.log_prob(x))


class AtEveryPlace(nn.Module):
    """Gives a network over pictures a vector at every place, whatever their size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = ConvResidualNet(inputs, outputs, 4, context_channels=3, num_blocks=1)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.net(x, context[:, :, None, None].expand(-1, -1, *x.shape[2:]))
        return made


def levels_of_vectors() -> nn.Module:
    """Levels of pictures, whose networks see the same vectors at every size."""
    levels, shape = T.MultiscaleCompositeTransform(2), (1, 4, 4)
    for _ in range(2):
        channels = 4 * shape[0]
        coupling = T.AffineCouplingTransform(torch.arange(channels) % 2, AtEveryPlace)
        steps = T.CompositeTransform([T.SqueezeTransform(), coupling])
        shape = levels.add_transform(steps, (channels, shape[1] // 2, shape[2] // 2))
    return flows.Flow(levels, distributions.StandardNormal([16]))


def embedded(net: nn.Module) -> nn.Module:
    """One level of pictures of (1, 4, 4), whose networks see pictures of (2, 2, 2)."""
    flow = nflows_picture_splines(context_channels=2)
    flow._embedding_net = net
    return flow


def columns_embedded() -> nn.Module:
    flow = same("nflows NSF-C | context")
    flow._embedding_net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, CONTEXT))
    return flow


GIVEN_PICTURES = {
    "pictures as vectors": (lambda: embedded(nn.Unflatten(1, (2, 2, 2))), 8),
    "a vector at every place": (
        lambda: embedded(nn.Sequential(nn.Unflatten(1, (2, 1, 1)), nn.Upsample(size=(2, 2)))), 2,
    ),
    "pictures of few numbers": (
        lambda: embedded(nn.Sequential(nn.Linear(5, 8), nn.Unflatten(1, (2, 2, 2)))), 5,
    ),
    "levels": (levels_of_vectors, 3),
    "columns": (columns_embedded, 4),
}  # fmt: skip


@pytest.mark.parametrize(("build", "size"), GIVEN_PICTURES.values(), ids=GIVEN_PICTURES)
def test_a_flow_whose_networks_see_what_another_makes_of_vectors_teaches_as_it_is(
    build: Callable[[], nn.Module], size: int
) -> None:
    module = moved(build, 0.1)
    teacher = flowkd.adapt(module)
    assert teacher.context == ContextSpec(size=size)
    context = torch.randn(40, size, generator=torch.Generator().manual_seed(0))
    x = teacher.sample(40, context, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(teacher.log_prob(x, context), module.log_prob(x, context))
    assert not torch.allclose(teacher.log_prob(x, context.flip(0)), teacher.log_prob(x, context))
    student = (
        flowkd.glow(x.shape[1:], levels=1, depth=1, width=4, context_size=size)
        if (x.dim() > 2)
        else flowkd.coupling(x.shape[1], depth=1, width=4, context_size=size)
    )
    history = flowkd.fit(
        student, x, context, teacher=teacher, weights={"nll": 0.5, "samples": 0.5}, samples=20,
        steps=2, batch_size=10, learning_rate=1e-3, progress=False,
    )  # fmt: skip
    assert all(map(math.isfinite, history.losses))


def test_networks_that_see_pictures_and_are_given_none_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"takes pictures: .* such as nn.Unflatten\(1, "):
        flowkd.adapt(moved(lambda: nflows_picture_splines(context_channels=2), 0.1))


def test_units_are_those_of_the_data() -> None:
    module = same("zuko NSF")
    plain, scaled = flowkd.adapt(module), flowkd.adapt(module, mean=10.0, scale=2.0)
    x = torch.randn(8, 5)
    expected = plain.log_prob(x) - 5 * math.log(2.0)
    torch.testing.assert_close(scaled.log_prob(2 * x + 10), expected)
    for teacher in (plain, scaled):
        drawn = teacher.sample(500, generator=torch.Generator().manual_seed(0)).mean()
        assert (drawn > 5) == (teacher is scaled)


def test_samples_of_a_seed_are_the_same_and_leave_other_generators_alone() -> None:
    teacher = flowkd.adapt(circular())
    state = torch.get_rng_state()
    first = teacher.sample(20, generator=torch.Generator().manual_seed(3))
    assert torch.equal(teacher.sample(20, generator=torch.Generator().manual_seed(3)), first)
    assert not torch.equal(teacher.sample(20, generator=torch.Generator().manual_seed(4)), first)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="expected temperature 1 of a NCSF"):
        teacher.sample(3, temperature=0.5)


def test_workers_draw_shares_of_the_same_fresh_samples() -> None:
    for module in (circular(), continuous()):
        teacher = flowkd.adapt(module)
        given = {"batch_size": 6, "temperature": 1.0, "seed": 1}
        whole = FreshSamples(teacher, **given).batch(2).x
        shares = [FreshSamples(teacher, **given, rank=rank, world=2).batch(2).x for rank in (0, 1)]
        # A solver with adaptive steps sees all rows of a batch.
        torch.testing.assert_close(torch.cat(shares), whole, rtol=1e-3, atol=1e-3)


def test_samples_have_the_contexts_that_they_are_drawn_for() -> None:
    module = continuous(2)
    teacher = flowkd.adapt(module)
    drawn, _ = draw_samples(
        teacher, 6, temperature=1.0, seed=0, contexts=lambda n, generator: torch.ones(n, 2)
    )
    assert drawn.x.shape == (6, 2)
    assert drawn.context is not None
    with pytest.raises(ValueError, match=r"expected a context of float vectors \(B, 2\); got none"):
        teacher.log_prob(drawn.x)


TERMS = {
    "latent": "expected a teacher that has latents, for the term 'latent'; got one that has",
    "synthesis": "expected a teacher that has decoding, for the term 'synthesis'",
    "log_det": "expected a teacher that has taps, for the term 'log_det'",
}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_that_needs_what_a_teacher_lacks_is_refused(term: str) -> None:
    student = new_flow(STUDENT.model_copy(update={"event_shape": (3,)}))
    weights = LossWeights.model_validate({term: 0.5})
    with pytest.raises(ValueError, match=TERMS[term]):
        Distillation(student, flowkd.adapt(circular()), weights=weights)


def test_a_teacher_without_samples_is_refused_where_they_are_asked_for() -> None:
    class Silent(Z.NCSF):
        def forward(self, c: Any = None) -> Any:
            whole = super().forward(c)
            whole.rsample = whole.sample = None
            return whole

    teacher = flowkd.adapt(moved(lambda: Silent(3, transforms=1, hidden_features=(8,)), 0.1))
    assert not teacher.abilities
    with pytest.raises(ConfigError, match="that has samples, for the term 'samples'; got one that"):
        flowkd.fit(
            new_flow(STUDENT.model_copy(update={"event_shape": (3,)})), angles(), teacher=teacher,
            weights={"nll": 1, "samples": 1}, steps=2, progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "weights"),
    [
        (circular, {"nll": 0.5, "samples": 0.5, "density": 0.1}),
        (lambda: continuous(), {"nll": 0.0, "samples": 0.5, "latent": 0.1, "synthesis": 0.1}),
    ],
)
def test_a_student_learns_from_it(build: Any, weights: dict[str, float]) -> None:
    teacher = flowkd.adapt(moved(build, 0.1))
    x = angles()[:, : teacher.dimensions]
    student = flowkd.distill(
        teacher, x, student=STUDENT.model_copy(update={"event_shape": teacher.event_shape}),
        weights=weights, samples=50, steps=1, batch_size=20, learning_rate=1e-9, progress=False,
    )  # fmt: skip
    drawn = teacher.sample(200, generator=torch.Generator().manual_seed(5))
    begun = student.log_prob(drawn).mean().item()
    history = flowkd.fit(
        student, x, teacher=teacher, weights=weights, samples=50, steps=15, batch_size=20,
        learning_rate=0.02, validate_every=5, progress=False,
    )  # fmt: skip
    assert np.mean(history.losses[-5:]) < np.mean(history.losses[:5])
    assert student.log_prob(drawn).mean() > begun


@pytest.fixture
def furnished(local_store: Store, tmp_path: Path) -> tuple[Store, str]:
    """A store with a table of angles, and a file with weights of `circular`."""
    rows = SplitArrays(angles().numpy())
    write_dataset(
        local_store, "angles", dict.fromkeys(("train", "val", "test"), rows), kind="table",
        source="a test", mean=rows.x.mean(0), scale=rows.x.std(0),
    )  # fmt: skip
    path = tmp_path / "flow.pt"
    torch.manual_seed(0)
    torch.save(circular().state_dict(), path)
    return local_store, str(path)


def run(weights: str, name: str = "small", **changes: Any) -> TrainingConfig:
    objective = {
        "kind": "distillation",
        "teacher": {"library": "zuko", "build": f"{__name__}:circular", "weights": weights},
        "samples": {"rows": 40},
    }
    values = {
        "name": name,
        "dataset": "angles",
        "flow": {"kind": "coupling", "depth": 1, "width": 4},
        "train": {"steps": 4, "learning_rate": 0.01, "warmup_steps": 1},
        "batch_size": 20,
        "validate_every": 2,
        "objective": {**objective, **changes.pop("objective", {})},
    }
    return TrainingConfig.model_validate({**values, **changes})


def test_a_run_is_taught_by_a_builder_and_weights(furnished: tuple[Store, str]) -> None:
    store, weights = furnished
    config = run(weights, objective={"cache": {"kind": "memory"}, "weights": {"density": 0.1}})
    assert len(list(run_in_process(config, store))) == 4
    artifact = load_artifact(store, "runs/small")
    assert artifact.manifest.lineage.teacher.startswith(f"zuko {__name__}:circular, weights ")
    # Without data, too; the student takes over the shape.
    alone = run(weights, "alone", dataset="none")
    list(run_in_process(alone, store))
    assert load_artifact(store, "runs/alone").flow.event_shape == (3,)
    # A flow that is not named is chosen by the data.
    assert resolve_run(run(weights, "open", flow=None), store).flow.kind == "coupling"


BAD: dict[str, dict[str, Any]] = {
    "for the term 'latent'; got one that has log_prob, samples: leave the": {
        "weights": {"latent": 1}
    },
    "expected those of what": {"teacher": {"build": f"{__name__}:wider"}},
    "expected a flow in place of share or throughput": {"share": 0.5},
    "expected warm_start: none for a teacher of another library; got fold": {"warm_start": "fold"},
    "expected package.module:function that can be imported": {"teacher": {"build": "no:such"}},
}


def wider() -> nn.Module:
    return Z.NCSF(3, transforms=1, hidden_features=(9,))


@pytest.mark.parametrize("words", BAD)
def test_each_fault_is_told_before_any_training(furnished: tuple[Store, str], words: str) -> None:
    store, weights = furnished
    changes = dict(BAD[words])
    if "teacher" in changes:
        known = {"library": "zuko", "build": "", "weights": weights}
        changes["teacher"] = {**known, **changes["teacher"]}
    with pytest.raises((ConfigError, ValueError), match=words):
        resolve_run(run(weights, objective=changes), store)
    assert not store.exists("runs", "small", "config.yaml")


def test_without_data_a_student_must_be_named(furnished: tuple[Store, str]) -> None:
    store, weights = furnished
    with pytest.raises(ConfigError, match="expected one for the student of zuko"):
        resolve_run(run(weights, flow=None, dataset="none"), store)


def test_a_queue_imports_no_code_that_a_record_names(furnished: tuple[Store, str]) -> None:
    store, weights = furnished
    config, storage = run(weights), StorageConfig(uri=store.uri)
    assert needs(config) == {"datasets/angles"}
    check_job(config, storage)
    with pytest.raises(ConfigError, match="expected a reference for a job of the queue"):
        check_job(config, storage, here=False)


def test_weights_that_change_while_a_run_waits_are_noticed(furnished: tuple[Store, str]) -> None:
    from flowkd.training.inputs import load_data

    store, weights = furnished
    resolved = resolve_run(run(weights), store)
    torch.save(circular().state_dict(), weights)
    with pytest.raises(ConfigError, match="as when the run began; got"):
        load_data(resolved, store)


def test_what_is_no_whole_flow_is_told() -> None:
    with pytest.raises(flowkd.FlowkdError, match="expected a whole flow"):
        flowkd.adapt(zuko.nn.MLP(2, 3))
    assert SAME
