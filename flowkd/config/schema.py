"""The keys of a configuration, with types, defaults and a sentence each, by its models."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flowkd.config.annotations import members, models, tag

NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Key:
    """A key of a configuration.

    Attributes:
        path: With those of the mappings that it is in, `train.steps`.
        type: What may stand there, in words.
        default: In YAML; None for one that must be given.
        sentence: What it is.
    """

    path: str
    type: str
    default: str | None
    sentence: str


def keys_of(model: type[BaseModel], before: str = "") -> Iterator[Key]:
    """Yields the keys of a model, those of its parts below them; a union's kinds are only named."""
    sentences = attributes_of(model)
    for name, field in model.model_fields.items():
        path = f"{before}{name}"
        sentence = sentences.get(name) or ("Which one it is." if name == "kind" else "")
        yield Key(path, type_of(field.annotation), _default(field), sentence)
        parts = [(part, below) for part, below in _parts(field.annotation) if part is not model]
        if len(parts) == 1:
            [(part, below)] = parts
            yield from keys_of(part, f"{path}{below}.")


def attributes_of(model: type[BaseModel]) -> dict[str, str]:
    """Returns the sentence of each attribute, from the docstrings of a model and its bases."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        text = inspect.cleandoc(vars(kind).get("__doc__") or "")
        _, _, section = text.partition("Attributes:\n")
        name = ""
        for line in section.splitlines():
            begun = re.match(r"    (\w+): (.*)", line)
            if begun:
                name = begun[1]
                found[name] = begun[2]
            elif name and line.startswith("        "):
                found[name] += f" {line.strip()}"
            else:
                name = ""
    return found


def sentence_of(model: type[BaseModel]) -> str:
    """Returns the first sentence of a model's docstring."""
    return inspect.cleandoc(model.__doc__ or "").splitlines()[0]


def type_of(annotation: Any) -> str:
    """Returns in words what may stand at a place.

    >>> type_of(dict[str, float] | None)
    'mapping of number, or null'
    """
    found = list(members(annotation))
    said = [_one(member) for member in found if member is not type(None)]
    tags = [kind for kind in map(_tag, found) if kind]
    if len(tags) > 1:
        said = [text for member, text in zip(found, said, strict=False) if not _tag(member)]
        said.append(f"mapping of kind {', '.join(tags)}")
    if type(None) in found:
        said.append("null")
    return ", or ".join(dict.fromkeys(said))


def _one(member: Any) -> str:
    origin, inner = get_origin(member), get_args(member)
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin in (dict, Mapping):
        return f"mapping of {type_of(inner[1])}"
    if origin in (list, tuple, Sequence):
        return f"list of {type_of(inner[0])}"
    if isinstance(member, type) and issubclass(member, BaseModel):
        return "mapping"
    return NAMES.get(member, "anything" if member is Any else getattr(member, "__name__", "text"))


def _tag(member: Any) -> str | None:
    return tag(member) if isinstance(member, type) and issubclass(member, BaseModel) else None


def _parts(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Yields the models at a place, or of its elements, and what stands for their key there."""
    yield from ((model, "") for model in models(annotation))
    for member in members(annotation):
        origin, inner = get_origin(member), get_args(member)
        if origin in (dict, Mapping):
            yield from ((model, ".NAME") for model in models(inner[1]))
        elif origin in (list, tuple, Sequence):
            yield from ((model, ".N") for model in models(inner[0]))


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        kind = tag(type(value))
        return f"kind {kind}" if kind else "as below"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {each}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple | set):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
