"""What may stand at a place of a configuration, by the annotations of its models."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, RootModel


def members(annotation: Any) -> Iterator[Any]:
    """Yields the types that an annotation allows, without Annotated and root models.

    >>> list(members(int | None))
    [<class 'int'>, <class 'NoneType'>]
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from members(each)
    elif isinstance(annotation, type) and issubclass(annotation, RootModel):
        yield from members(annotation.model_fields["root"].annotation)
    else:
        yield annotation


def models(annotation: Any) -> list[type[BaseModel]]:
    """Returns the models among the types that an annotation allows."""
    return [m for m in members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]


def tag(model: type[BaseModel]) -> str | None:
    """Returns the `kind` of a model of a tagged union; None where it has none."""
    field = model.model_fields.get("kind")
    found = get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()
    return str(found[0]) if found else None


def models_at(annotation: Any, location: Sequence[int | str]) -> list[type[BaseModel]]:
    """Returns the models that may stand at a place, given as pydantic does: with unions' tags."""
    if not location:
        return models(annotation)
    first, rest = location[0], location[1:]
    for member in members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            if first in (tag(member), member.__name__):
                return models_at(member, rest)
            if first in member.model_fields:
                return models_at(member.model_fields[str(first)].annotation, rest)
        elif get_origin(member) in (dict, Mapping):
            return models_at(get_args(member)[1], rest)
        elif get_origin(member) in (list, tuple, Sequence):
            return models_at(get_args(member)[0], rest)
    return []


def number_at(annotation: Any) -> str | None:
    """Returns pydantic's type of error for true at a place of numbers; None where it may stand."""
    found = list(members(annotation))
    if any(member in (bool, Any, object) or True in get_args(member) for member in found):
        return None
    return next((f"{kind.__name__}_type" for kind in (int, float) if kind in found), None)
