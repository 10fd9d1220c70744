"""The last stage of a workflow: the student on Ray Serve, asked as any user would ask it."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np

from cluster.serve.config import ServingConfig
from cluster.storage import StorageConfig
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import FlowkdError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store

ASKED = 16


def serve_models(config: ServingConfig, storage: StorageConfig) -> str:
    """Serves models and returns the endpoint's URL; Ray is imported, and started, only here."""
    from cluster.local import connect
    from cluster.serve.deployment import deploy

    connect()
    return deploy(config, storage)


def ask(url: str, reference: str, evaluation: EvaluationConfig, store: Store) -> float:
    """Asks a served model for samples and for log-likelihoods of held-out rows.

    Args:
        url: Of the model.
        reference: What it serves.
        evaluation: Names the data set and the split.
        store: Where they are.

    Returns:
        Bits per dimension of the rows, on average.

    Raises:
        FlowkdError: It refuses.
    """
    manifest = read_manifest(store, evaluation.dataset)
    rows = load_split(store, manifest, evaluation.split, limit=ASKED)
    context: dict[str, Any] = {}
    if load_artifact(store, reference).flow.context.width and rows.context is not None:
        context = {"context": _named(rows.context.tolist(), manifest)}
    with httpx.Client(timeout=60, trust_env=False) as client:
        _answer(client, f"{url}/sample", {"n": len(rows), "seed": 0, **context})
        scores = _answer(client, f"{url}/log_prob", {"x": rows.x.tolist(), **context})
    return float(np.mean(scores["bits_per_dim"]))


def _named(context: list[Any], manifest: Manifest) -> list[Any]:
    """Returns classes by their names, where they have some; vectors as they are."""
    if manifest.class_names is None:
        return context
    return [manifest.class_names[each] for each in context]


def _answer(client: httpx.Client, url: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(url, json=body)
    if answer.is_error:
        raise FlowkdError(
            f"expected {url} to answer; got {answer.status_code}: {answer.text[:500]}"
        )
    found: dict[str, Any] = answer.json()
    return found
