"""Small models to serve, a server of them in this process, and requests to a server."""

import io
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import httpx
import numpy as np
import orjson
import pytest
import torch
from ray import serve

from cluster.serve.deployment import pinned_models
from cluster.serve.server import FlowServer
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
MAX_BODY_BYTES = 200_000
JSON, PNG, NPY = "application/json", "image/png", "application/x-npy"
LIMITS = {"max_examples": 100, "max_body_bytes": MAX_BODY_BYTES, "max_ongoing_requests": 40}


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


@contextmanager
def replica_in_process(config, storage, portal):
    """A client of a replica in this process: all of the server but Ray Serve's proxy.

    Its event loop is the portal's, one for all: @serve.batch has one queue in a process, bound to
    the loop that used it first. On another loop each request would wait for ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        # All that @serve.batch asks of the replica that it runs in, to warn of a small limit.
        context = SimpleNamespace(_deployment_config=config.limits)
        patch.setattr(serve, "get_replica_context", lambda: context)
        server = FlowServer(config.model_dump(mode="json"), storage.model_dump(mode="json"))
        transport = httpx.ASGITransport(server.__serve_build_asgi_app__())
        client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

        def deploy():
            user_config = {"models": pinned_models(config, storage)}
            portal.call(server.reconfigure, user_config)

        deploy()
        yield SimpleNamespace(
            get=lambda *args: portal.call(client.get, *args),
            post=lambda *args, **options: portal.call(partial(client.post, *args, **options)),
            start=lambda *args, **options: portal.start_task_soon(
                partial(client.post, *args, **options)
            ),
            deploy=deploy,
        )


def post(client, model, values, accept=JSON, operation="sample", **headers):
    return client.post(
        f"/v1/models/{model}/{operation}",
        content=orjson.dumps(values),
        headers={"Content-Type": JSON, "Accept": accept, **headers},
    )


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def post_npy(client, model, body, query="", accept=JSON):
    headers = {"Content-Type": NPY, "Accept": accept}
    return client.post(f"/v1/models/{model}/log_prob{query}", content=body, headers=headers)


def ok(response):
    assert response.status_code == 200, response.text
    return response
