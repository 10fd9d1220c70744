"""A served model, and its answers in each media type."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from fastapi import Response

from cluster.serve.http import NPY, PNG, json_response, npy_response
from flowkd.flows.build import count_parameters
from flowkd.predict.predictor import LogProbResult, Predictor
from flowkd.registry.artifacts import Artifact
from flowkd.report.images import encode_png, picture_grid


@dataclass(frozen=True)
class ServedModel:
    """A model that is loaded.

    Attributes:
        name: Name in the URL.
        artifact: What was read from the store.
        predictor: The artifact's flow, ready to answer.
    """

    name: str
    artifact: Artifact
    predictor: Predictor

    def describe(self) -> dict[str, Any]:
        """Returns a `schemas.ModelDescription`."""
        flow = self.predictor.flow
        return {
            "name": self.name,
            "reference": self.artifact.reference,
            "version": self.artifact.version,
            "event_shape": flow.event_shape,
            "bins": self.predictor.bins,
            "parameters": count_parameters(self.artifact.flow),
            "context": {"classes": flow.context.classes, "size": flow.context.size},
            "metrics": self.artifact.metrics,
            "lineage": self.artifact.manifest.lineage.model_dump(),
        }


def sample_response(
    model: ServedModel, seed: int, x: np.ndarray, media_type: str, remarks: Sequence[str] = ()
) -> Response:
    """Returns examples as JSON (`schemas.SampleAnswer`), as a grid in PNG, or as .npy."""
    headers = _headers(model, seed, remarks)
    if media_type == NPY:
        return npy_response(x, headers)
    if media_type == PNG:
        assert model.predictor.bins is not None
        png = encode_png(picture_grid(x, model.predictor.bins))
        return Response(png, headers=headers, media_type=PNG)
    fields = _fields(model, seed, remarks)
    samples = np.ascontiguousarray(x)
    return json_response({**fields, "shape": x.shape, "samples": samples}, headers)


def log_prob_response(
    model: ServedModel,
    seed: int,
    result: LogProbResult,
    media_type: str,
    remarks: Sequence[str] = (),
) -> Response:
    """Returns log-densities as JSON (`schemas.LogProbAnswer`).

    Or as .npy, (N, 2): log_prob in nats, and bits_per_dim.
    """
    log_prob, bits = result.log_prob.numpy(), result.bits_per_dim.numpy()
    headers = _headers(model, seed, remarks)
    if media_type == NPY:
        return npy_response(np.stack([log_prob, bits], axis=1), headers)
    values = {"unit": "nats", "log_prob": log_prob, "bits_per_dim": bits}
    return json_response({**_fields(model, seed, remarks), **values}, headers)


def _fields(model: ServedModel, seed: int, remarks: Sequence[str]) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "model_version": model.artifact.version,
        "seed": seed,
        "remarks": list(remarks),
    }


def _headers(model: ServedModel, seed: int, remarks: Sequence[str]) -> dict[str, str]:
    headers = {"X-Flowkd-Model-Version": model.artifact.version, "X-Flowkd-Seed": str(seed)}
    # As JSON, which is ASCII whatever the columns are called.
    return {**headers, "X-Flowkd-Remarks": json.dumps(remarks)} if remarks else headers


def docs_page(models: Sequence[ServedModel], schema: dict[str, Any]) -> str:
    """Returns a page about the routes and the models; it needs nothing from the network."""
    template = Path(__file__).with_name("docs.html").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True).from_string(template)
    routes = [
        {"path": path, "method": method.upper(), **about}
        for path, methods in schema["paths"].items()
        for method, about in methods.items()
    ]
    return page.render(
        models=[model.describe() for model in models],
        routes=routes,
        schemas=schema["components"]["schemas"],
    )
