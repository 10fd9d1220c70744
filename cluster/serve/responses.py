"""A served model, and what it answers in each media type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from fastapi import Response

from cluster.serve.http import NPY, PNG, json_response, npy_response
from flowkd.flows.build import count_parameters
from flowkd.predict.model import Model, Scores
from flowkd.registry.artifacts import Artifact
from flowkd.report.images import encode_png, picture_grid


@dataclass(frozen=True)
class Served:
    """A model under the name that it is served by."""

    name: str
    artifact: Artifact
    model: Model

    def describe(self) -> dict[str, Any]:
        """Returns what clients may want to know before they ask."""
        flow = self.model.flow
        return {
            "name": self.name,
            "reference": self.artifact.reference,
            "version": self.artifact.version,
            "event_shape": flow.event_shape,
            "bins": self.model.bins,
            "parameters": count_parameters(self.artifact.flow),
            "context": {"classes": flow.context.classes, "size": flow.context.size},
            "metrics": self.artifact.metrics,
            "lineage": self.artifact.manifest.lineage.model_dump(),
        }

    def answer(self, seed: int) -> dict[str, Any]:
        """Returns what every JSON answer begins with."""
        return {"model": self.name, "version": self.artifact.version, "seed": seed}

    def headers(self, seed: int) -> dict[str, str]:
        """Returns the same for answers that are no JSON."""
        return {"X-Flowkd-Version": self.artifact.version, "X-Flowkd-Seed": str(seed)}


def sample_response(served: Served, seed: int, x: np.ndarray, kind: str) -> Response:
    """Returns samples as JSON, as a grid in PNG, or as .npy."""
    headers = served.headers(seed)
    if kind == NPY:
        return npy_response(x, headers)
    if kind == PNG:
        assert served.model.bins is not None
        png = encode_png(picture_grid(x, served.model.bins))
        return Response(png, headers=headers, media_type=PNG)
    samples = np.ascontiguousarray(x)
    return json_response({**served.answer(seed), "shape": x.shape, "samples": samples}, headers)


def score_response(served: Served, seed: int, scores: Scores, kind: str) -> Response:
    """Returns scores as JSON, or as .npy: (N, 2), nats and bits per dimension."""
    nats, bits = scores.nats.numpy(), scores.bits_per_dim.numpy()
    headers = served.headers(seed)
    if kind == NPY:
        return npy_response(np.stack([nats, bits], axis=1), headers)
    return json_response({**served.answer(seed), "nats": nats, "bits_per_dim": bits}, headers)


def docs_page(models: Sequence[Served], schema: dict[str, Any]) -> str:
    """Returns a page about the routes and the models; it needs nothing from the network."""
    template = Path(__file__).with_name("docs.html").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True).from_string(template)
    routes = [
        {"path": path, "method": method.upper(), **about}
        for path, methods in schema["paths"].items()
        for method, about in methods.items()
    ]
    return page.render(models=[served.describe() for served in models], routes=routes)
