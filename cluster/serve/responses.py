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

from cluster.serve.http import json_response, npy_response
from cluster.serve.media import NPY, PNG, TABLES
from cluster.serve.tables import write_table
from flowkd.data.facts import DataFacts
from flowkd.flows.build import count_parameters
from flowkd.predict.predictor import LogProbResult, Predictor
from flowkd.registry.artifacts import Artifact
from flowkd.report.images import encode_png, picture_grid

MAX_HEADER_LENGTH = 4096


@dataclass(frozen=True)
class ServedModel:
    """A model that is loaded.

    Attributes:
        name: Name in the URL.
        artifact: What was read from the store.
        predictor: The artifact's flow, ready to answer.
        aliases: Names that pointed at its version when it was loaded.
    """

    name: str
    artifact: Artifact
    predictor: Predictor
    aliases: Sequence[str] = ()

    @property
    def facts(self) -> DataFacts:
        """What its values are called."""
        return self.artifact.manifest.data

    @property
    def columns(self) -> Sequence[str] | None:
        """Names of the columns of x, x0, x1, ... where they have none; None if it is no table."""
        if len(self.predictor.flow.event_shape) != 1:
            return None
        return self.facts.columns or [f"x{n}" for n in range(self.predictor.flow.dimensions)]

    @property
    def context_columns(self) -> Sequence[str]:
        """Names of the context's columns, one for a class; empty where they have none."""
        spec, names = self.predictor.flow.context, self.facts.context_columns or ()
        return names if len(names) == (1 if spec.classes else spec.size) else ()

    def describe(self) -> dict[str, Any]:
        """Returns a `schemas.ModelDescription`."""
        flow, facts = self.predictor.flow, self.facts
        lineage = self.artifact.manifest.lineage
        return {
            "name": self.name,
            "reference": self.artifact.reference,
            "version": self.artifact.version,
            "aliases": self.aliases,
            "dataset": lineage.dataset,
            "event_shape": flow.event_shape,
            "dimensions": flow.dimensions,
            "columns": self.columns,
            "units": facts.units,
            "bins": self.predictor.bins,
            "parameters": count_parameters(self.artifact.flow),
            "engine": "torch" if flow.engine is None else flow.engine.name,
            "context": {
                "classes": flow.context.classes,
                "size": flow.context.size,
                "columns": self.context_columns or None,
                "class_names": facts.class_names if flow.context.classes else None,
                "minimum": facts.context_minimum if flow.context.size else None,
                "maximum": facts.context_maximum if flow.context.size else None,
            },
            "metrics": self.artifact.metrics,
            "lineage": lineage.model_dump(),
        }


def sample_response(
    model: ServedModel, seed: int, x: np.ndarray, media_type: str, remarks: Sequence[str] = ()
) -> Response:
    """Returns examples as JSON (`schemas.SampleAnswer`), a grid in PNG, .npy, or a table."""
    headers = _headers(model, seed, remarks)
    if media_type == NPY:
        return npy_response(x, {**headers, **_columns_header(model)})
    if media_type in TABLES:
        assert model.columns is not None
        return _table_response(dict(zip(model.columns, x.T, strict=True)), media_type, headers)
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

    Or as .npy, (N, 2): log_prob in nats, and bits_per_dim; or as a table of log_prob alone.
    """
    log_prob, bits = result.log_prob.numpy(), result.bits_per_dim.numpy()
    headers = _headers(model, seed, remarks)
    if media_type == NPY:
        both = np.stack([log_prob, bits], axis=1)
        return npy_response(both, {**headers, **_columns_header(model)})
    if media_type in TABLES:
        return _table_response({"log_prob": log_prob}, media_type, headers)
    values = {"unit": "nats", "log_prob": log_prob, "bits_per_dim": bits}
    return json_response({**_fields(model, seed, remarks), **values}, headers)


def _table_response(
    columns: dict[str, np.ndarray], media_type: str, headers: dict[str, str]
) -> Response:
    return Response(write_table(columns, media_type), headers=headers, media_type=media_type)


def _fields(model: ServedModel, seed: int, remarks: Sequence[str]) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "model_version": model.artifact.version,
        "seed": seed,
        "remarks": list(remarks),
        "columns": model.columns,
    }


def _headers(model: ServedModel, seed: int, remarks: Sequence[str]) -> dict[str, str]:
    headers = {"X-Flowkd-Model-Version": model.artifact.version, "X-Flowkd-Seed": str(seed)}
    # As JSON, which is ASCII whatever the columns are called.
    return {**headers, "X-Flowkd-Remarks": json.dumps(remarks)} if remarks else headers


def _columns_header(model: ServedModel) -> dict[str, str]:
    """Returns the names of a table's columns in JSON, but for those too long for a header."""
    names = json.dumps(model.columns, separators=(",", ":"))
    fits = model.columns is not None and len(names) <= MAX_HEADER_LENGTH
    return {"X-Flowkd-Columns": names} if fits else {}


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
