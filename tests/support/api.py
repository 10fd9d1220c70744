"""The HTTP interface to models in this process, without Ray: each request is computed alone."""

import asyncio

import httpx
import torch

from cluster.serve.api import build_api
from cluster.serve.config import ServingLimits
from cluster.serve.responses import ServedModel
from flowkd.data.facts import DataFacts
from flowkd.flows.build import build_flow
from flowkd.predict.predictor import Predictor
from flowkd.registry.artifacts import load_artifact, publish_artifact
from flowkd.registry.card import Lineage


class DirectBackend:
    """Answers with the models' own predictors."""

    def __init__(self, models):
        self.models = models

    async def sample(self, model, inputs):
        return model.predictor.sample_batch([inputs])[0]

    async def log_prob(self, model, inputs):
        return model.predictor.log_prob_batch([inputs])[0]


def serve_flow(store, name, config, bins=None, **facts):
    """A served model of random weights, whose values are called as the facts say."""
    flow = build_flow(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    more = {"lineage": Lineage(bins=bins), "data": DataFacts(**facts)}
    version = publish_artifact(store, name, flow, config, **more)
    artifact = load_artifact(store, f"models/{name}@{version}")
    return ServedModel(name, artifact, Predictor.from_artifact(artifact))


def ask(models, method, path, content=None, headers=None, **limits):
    """The answer to one request."""

    async def run():
        api = build_api(DirectBackend(models), ServingLimits(**limits))
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, content=content, headers=headers)

    return asyncio.run(run())
