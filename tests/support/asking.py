"""Models to be served, and questions to their server."""

import io

import numpy as np
import orjson
import torch

from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig
from flowkd.registry.artifacts import publish_artifact
from flowkd.registry.card import Lineage

GLOW = {"levels": 2, "depth": 2, "width": 16}
CONFIGS = {
    "photos": (GlowConfig(event_shape=(3, 8, 8), mean=128.0, scale=256.0, **GLOW), 256),
    "digits": (GlowConfig(event_shape=(1, 8, 8), mean=8.5, scale=17.0, classes=10, **GLOW), 17),
    "table": (CouplingConfig(event_shape=(5,), mean=1.0, scale=2.0, width=16), None),
}
BODY_BYTES = 200_000
JSON, PNG, NPY = "application/json", "image/png", "application/x-npy"
LIMITS = {"n_max": 100, "body_bytes": BODY_BYTES, "queue": 40}


def publish(store, name, seed):
    config, bins = CONFIGS[name]
    flow = build_flow(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return publish_artifact(
        store,
        name,
        flow,
        config,
        metrics={"bits_per_dim": 3.5},
        lineage=Lineage(dataset=name, bins=bins),
    )


def ask(client, model, values, accept=JSON, operation="sample", **options):
    return client.post(
        f"/v1/models/{model}/{operation}",
        content=orjson.dumps(values),
        headers={"Content-Type": JSON, "Accept": accept, **options},
    )


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def send_npy(client, model, body, query="", accept=JSON):
    headers = {"Content-Type": NPY, "Accept": accept}
    return client.post(f"/v1/models/{model}/log_prob{query}", content=body, headers=headers)


def ok(response):
    assert response.status_code == 200, response.text
    return response
