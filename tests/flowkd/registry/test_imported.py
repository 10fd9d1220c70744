"""Flows of other libraries become versions of models, and are used as any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import zuko
from nflows.flows.autoregressive import MaskedAutoregressiveFlow
from torch import Tensor, nn

import flowkd
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError, RefusedError
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.imported import ImportConfig, import_model
from flowkd.store.store import Store
from tests.support.foreign_flows import normflows_glow, trained

X = np.random.default_rng(0).normal(size=(400, 3)).cumsum(1).astype(np.float32)


@pytest.fixture(autouse=True)
def torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graphs are built of what is published: that takes seconds, and is tested elsewhere."""
    monkeypatch.setenv("FLOWKD_ENGINE", "torch")


def nsf() -> nn.Module:
    return zuko.flows.NSF(3, transforms=1, hidden_features=(8,))


def maf() -> nn.Module:
    return MaskedAutoregressiveFlow(3, 8, 1, 1)


def glow() -> nn.Module:
    return normflows_glow(levels=1, depth=2, shape=(1, 4, 4))


def pictures() -> Tensor:
    return 0.5 + 0.1 * torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))


LOSSES: dict[str, tuple[str, Callable[[], nn.Module], Callable[[nn.Module], Any], Tensor]] = {
    "nsf": ("zuko", nsf, lambda flow: lambda x: -flow().log_prob(x).mean(), torch.tensor(X)),
    "maf": ("nflows", maf, lambda flow: lambda x: -flow.log_prob(x).mean(), torch.tensor(X)),
    "glow": ("normflows", glow, lambda flow: lambda x: -flow.log_prob(x, None).mean(), pictures()),
}  # fmt: skip


def write_weights(name: str, folder: Any) -> tuple[nn.Module, Tensor, ImportConfig]:
    """Trains a flow for some steps, and writes its weights; returns also what imports it."""
    library, build, loss_of, x = LOSSES[name]
    torch.manual_seed(0)
    module = build()
    trained(module, loss_of(module), x, 15)
    path = folder / f"{name}.pt"
    torch.save(module.state_dict(), path)
    source = {"library": library, "build": f"{__name__}:{name}", "weights": str(path)}
    return module, x, ImportConfig.model_validate({"model": name, "source": source})


@pytest.mark.parametrize("name", LOSSES)
def test_a_trained_flow_is_imported_published_and_distilled(
    name: str, local_store: Store, tmp_path: Any
) -> None:
    module, x, config = write_weights(name, tmp_path)
    found = import_model(config, local_store)
    artifact = load_artifact(local_store, f"models/{name}@best")
    assert artifact.version == found.version
    assert found.origin in artifact.manifest.lineage.origin
    teacher = artifact.flow
    with torch.no_grad():
        known = -LOSSES[name][2](module.eval())(x)
    assert teacher.log_prob(x).mean().item() == pytest.approx(known.item(), rel=1e-5, abs=1e-5)
    student = flowkd.distill(
        teacher, x, share=0.9, steps=40, samples=64, batch_size=32, learning_rate=0.02,
        progress=False, validate_every=4,
    )  # fmt: skip
    begun = flowkd.distill(
        teacher, x, share=0.9, steps=1, samples=64, batch_size=32, learning_rate=1e-9,
        progress=False,
    )  # fmt: skip
    reached, first, known = (flow.log_prob(x).mean() for flow in (student, begun, teacher))
    assert reached > min(first + 0.05, known - 0.05)  # one that is folded begins as good
    assert all(student.one_pass.values())


@pytest.fixture
def walks(local_store: Store) -> Store:
    splits = dict.fromkeys(("train", "val", "test"), SplitArrays(X))
    write_dataset(
        local_store, "walks", splits, kind="table", source="a test", columns=["a", "b", "c"],
        mean=X.mean(0), scale=X.std(0),
    )  # fmt: skip
    return local_store


def test_a_data_set_gives_names_and_a_comparison(walks: Store, tmp_path: Any) -> None:
    config = write_weights("maf", tmp_path)[2].model_copy(update={"dataset": "walks"})
    found = import_model(config.model_copy(update={"force": True}), walks)
    artifact = load_artifact(walks, f"models/maf@{found.version}")
    assert artifact.columns == ["a", "b", "c"]
    assert artifact.metrics["validation_bits_per_dim"] == found.metrics["validation_bits_per_dim"]
    # Of other units than the flow has seen.
    source = config.source.model_copy(update={"mean": 50.0})
    with pytest.raises(RefusedError, match="bits/dim, and a Gaussian fitted to the same"):
        import_model(config.model_copy(update={"source": source}), walks)


def test_a_data_set_of_another_shape_is_refused(walks: Store, tmp_path: Any) -> None:
    config = write_weights("glow", tmp_path)[2].model_copy(update={"dataset": "walks"})
    with pytest.raises(DataError, match=r"expected one of event_shape \(1, 4, 4\).*'walks' of"):
        import_model(config, walks)
