"""From the body and the query of a request to the fields of a `SampleRequest`, `LogProbRequest`."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from cluster.serve.config import ServingLimits
from cluster.serve.errors import ApiError
from cluster.serve.http import parse_npy
from cluster.serve.json_body import parse_json
from cluster.serve.media import JSON, NPY, TABLES
from cluster.serve.responses import ServedModel
from cluster.serve.tables import TableLimits, parse_table
from flowkd.predict.columns import is_named, read_label, read_named, stack_columns
from flowkd.predict.requests import InvalidRequestError, most_examples


def body_types(model: ServedModel) -> tuple[str, ...]:
    """Returns the media types of bodies that hold examples of a model."""
    return (JSON, NPY) if model.columns is None else (JSON, NPY, *TABLES)


def read_query(request: Request, media_type: str) -> dict[str, Any]:
    """Returns the fields that stand in the query, each as JSON, or as text where it is none.

    Raises:
        InvalidRequestError: One is given twice, or any beside a body of JSON, which holds them all.
    """
    items = request.query_params.multi_items()
    names = [name for name, _ in items]
    if names and media_type == JSON:
        raise InvalidRequestError(
            f"the query: expected none beside a body of {JSON}; got {', '.join(names):.200}; put "
            "the values into the body"
        )
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequestError(f"{name:.40}: expected once in the query; got it more often")
    if "x" in names:
        raise InvalidRequestError("x: expected in the body alone; got it in the query too")
    return {name: _value(text) for name, text in items}


def sample_fields(model: ServedModel, body: bytes) -> Any:
    """Returns the fields of a request for samples."""
    return _in_order(model, parse_json(body))


def log_prob_fields(
    model: ServedModel, body: bytes, media_type: str, query: dict[str, Any], limits: ServingLimits
) -> Any:
    """Returns the fields of a request for log-densities: those of the body, and of the query.

    Raises:
        ApiError: The body is damaged or too large.
        InvalidRequestError: Names are wrong, or values are not numbers.
    """
    if media_type == JSON:
        return _in_order(model, parse_json(body))
    if media_type == NPY:
        return {**_in_order(model, query), "x": parse_npy(body)}
    return {**_in_order(model, query), **_table_fields(model, body, media_type, query, limits)}


def _table_fields(
    model: ServedModel, body: bytes, media_type: str, query: dict[str, Any], limits: ServingLimits
) -> dict[str, Any]:
    flow, columns = model.predictor.flow, model.columns
    assert columns is not None, "only a table's model takes tables"
    context_columns = () if "context" in query else model.context_columns
    table = parse_table(
        body,
        media_type,
        TableLimits(
            names=(*columns, *context_columns),
            labels=context_columns if flow.context.classes else (),
            max_rows=most_examples(flow.dimensions, limits),
            max_bytes=limits.max_body_bytes,
        ),
    )
    fields: dict[str, Any] = {"x": stack_columns(table, columns, "x")}
    if flow.context.classes and context_columns:
        fields["context"] = table[context_columns[0]].tolist()
    elif context_columns:
        fields["context"] = stack_columns(table, context_columns, "context")
    return fields


def _in_order(model: ServedModel, fields: Any) -> Any:
    """Returns fields with the values that are given by name in the model's order."""
    if not isinstance(fields, dict):
        return fields
    x, context, spec = fields.get("x"), fields.get("context"), model.predictor.flow.context
    changed: dict[str, Any] = {}
    if is_named(x):
        if model.columns is None:
            shape = ", ".join(map(str, model.predictor.flow.event_shape))
            raise InvalidRequestError(
                f"x: this model's values have no names; expected lists of shape (N, {shape})"
            )
        changed["x"] = read_named(x, model.columns, "x")
    if is_named(context) and spec.width:
        if not model.context_columns:
            raise InvalidRequestError(
                f"context: this model's context has no names; expected {spec.width} "
                f"{'classes, one by its number' if spec.classes else 'values in a list'}"
            )
        if spec.classes:
            changed["context"] = read_label(context, model.context_columns[0], "context")
        else:
            changed["context"] = read_named(context, model.context_columns, "context")
    return {**fields, **changed}


def _value(text: str) -> Any:
    try:
        return parse_json(text.encode(errors="replace"))
    except ApiError as error:
        if error.code == "malformed_body":
            return text
        raise
