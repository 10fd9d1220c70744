"""Requests to a served model, by ASGI: a changed one is never answered by a fault of the server."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from functools import cache

import httpx
import numpy as np
import torch
from torch import Tensor

from cluster.serve.api import build_api
from cluster.serve.config import ServingLimits
from cluster.serve.media import ARROW_STREAM, CSV, JSON, NPY, PARQUET, TABLES
from cluster.serve.responses import ServedModel
from cluster.serve.tables import write_table
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.predict.predictor import LogProbInputs, LogProbResult, Predictor, SampleInputs
from flowkd.predict.requests import InvalidRequestError
from flowkd.registry.artifacts import load_artifact, publish_artifact
from flowkd.store.store import Store

KINDS = {".json": JSON, ".npy": NPY, ".csv": CSV, ".parquet": PARQUET, ".arrow": ARROW_STREAM}
CONTEXT = [0.5, 1.5]


class InProcess:
    """Models that answer at once, without batches."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self.models = models

    async def sample(
        self, model: ServedModel, inputs: SampleInputs
    ) -> Tensor | InvalidRequestError:
        """Returns examples."""
        return model.predictor.sample_batch([inputs])[0]

    async def log_prob(
        self, model: ServedModel, inputs: LogProbInputs
    ) -> LogProbResult | InvalidRequestError:
        """Returns log-densities."""
        return model.predictor.log_prob_batch([inputs])[0]


@cache
def transport() -> httpx.ASGITransport:
    """Returns the interface of one small conditional model."""
    store = Store("memory://fuzz-requests")
    config = CouplingConfig(
        event_shape=(3,), mean=0.0, scale=1.0, width=8, context_size=2, context_mean=0.0,
        context_scale=1.0,
    )  # fmt: skip
    flow = build_flow(config, seed=1)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():  # as after a training: a new flow's networks give zeros
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=noise))
    version = publish_artifact(store, "table", flow, config)
    artifact = load_artifact(store, f"models/table@{version}")
    model = ServedModel("table", artifact, Predictor.from_artifact(artifact))
    api = build_api(InProcess({"table": model}), ServingLimits(max_examples=100))
    return httpx.ASGITransport(api, raise_app_exceptions=False)


def request_seeds() -> dict[str, bytes]:
    """Returns bodies that are answered, by suffix."""
    values = np.random.default_rng(0).normal(size=(4, 3))
    file = io.BytesIO()
    np.save(file, values)
    return {
        ".log_prob.json": json.dumps({"x": values.tolist(), "context": CONTEXT}).encode(),
        ".sample.json": json.dumps({"n": 3, "context": CONTEXT, "temperature": 0.5}).encode(),
        ".log_prob.npy": file.getvalue(),
        **{
            f".log_prob{suffix}": write_table({f"x{n}": values[:, n] for n in range(3)}, kind)
            for suffix, kind in KINDS.items()
            if kind in TABLES
        },
    }


def answer_fault(suffix: str, data: bytes) -> str | None:
    """Sends a body; returns what is wrong with the answer."""
    _, operation, kind = suffix.split(".")
    query = "" if kind == "json" else f"?context={json.dumps(CONTEXT)}"
    path = f"/v1/models/table/{operation}{query}"
    status, text = asyncio.run(_ask(path, KINDS[f".{kind}"], data))
    if status >= 500:
        return f"{operation} answers {status}: {text[:300]!r}"
    if status >= 400 and set(json.loads(text)) != {"error"}:
        return f"{operation} answers {status} without an error: {text[:300]!r}"
    if status == 200 and "NaN" in text:
        return f"{operation} answers NaN: {text[:300]!r}"
    return None


async def _ask(path: str, content_type: str, data: bytes) -> tuple[int, str]:
    async with httpx.AsyncClient(transport=transport(), base_url="http://localhost") as client:
        answer = await client.post(path, content=data, headers={"Content-Type": content_type})
        return answer.status_code, answer.text
