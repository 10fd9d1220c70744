"""The page docs/reference/http.md, from the OpenAPI description that the service itself gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from cluster.serve.api import Backend, build_api
from cluster.serve.config import ServingLimits

PAGE = Path("docs/reference/http.md")
HEAD = """# HTTP

Made from the code by `make docs`. A service describes itself as well, `/openapi.json` for programs
and `/docs` for people. [How to serve](../howto/serve.md) says how one is started and asked.

Every answer that is no success is `{"error": {"code": ..., "message": ...}}`: 4xx where the request
has to change, 5xx where it may be tried again, after the seconds of `Retry-After` where that is
given.
"""
WORDS = {"integer": "whole number", "string": "text", "array": "list"}


def document() -> str:
    """Returns docs/reference/http.md."""
    described = build_api(cast(Backend, None), ServingLimits()).openapi()
    parts = [HEAD]
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            parts.append(_route(f"{method.upper()} {path}", route))
    parts.append("## Fields of answers\n")
    for name, schema in sorted(described["components"]["schemas"].items()):
        parts.append(f"### {name}\n\n{schema.get('description', '')}\n\n{_fields(schema)}")
    return "\n".join(parts)


def _route(title: str, route: dict[str, Any]) -> str:
    lines = [f"## {title}\n", route.get("description", route["summary"]), ""]
    query = [each for each in route.get("parameters", ()) if each["in"] == "query"]
    if query:
        names = ", ".join(f"`{each['name']}`" for each in query)
        lines += [f"Beside a body that is no JSON, in the query: {names}.", ""]
    if body := route.get("requestBody"):
        lines += [f"A body is {_types(body['content'])}. The fields of JSON:", ""]
        lines += [_fields(body["content"]["application/json"]["schema"])]
    success = route["responses"]["200"]["content"]
    schema = success["application/json"]["schema"]
    lines += [f"The answer is {_types(success)}; as JSON a {_shown(schema)}.", ""]
    return "\n".join(lines)


def _types(content: dict[str, Any]) -> str:
    names = [f"`{name}`" for name in content]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _fields(schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = [
        f"| `{name}` | {_shown(field, schema.get('$defs', {}))} | "
        f"{_default(field, name in needed)} | {_text(field.get('description', ''))} |"
        for name, field in schema.get("properties", {}).items()
    ]
    head = ["| field | type | default | |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, ""])


def _shown(schema: dict[str, Any], known: dict[str, Any] | None = None) -> str:
    """Returns what a value is, in words."""
    found = list(dict.fromkeys(_kinds(schema, known or {})))
    return " or ".join(found) or "anything"


def _kinds(schema: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name in known:
            yield from _kinds(known[name], known)
        else:
            yield f"[{name}](#{name.lower()})"
    elif "const" in schema:
        yield f"`{schema['const']}`"
    elif choices := schema.get("anyOf") or schema.get("oneOf"):
        for each in choices:
            yield from _kinds(each, known)
    elif schema.get("type") == "array":
        yield f"list of {_shown(schema.get('items', {}), known)}"
    else:
        types = schema.get("type", [])
        for each in [types] if isinstance(types, str) else types:
            yield WORDS.get(each, each)


def _default(field: dict[str, Any], needed: bool) -> str:
    if needed or "default" not in field:
        return ""
    given = field["default"]
    return "`null`" if given is None else f"`{str(given).lower()}`"


def _text(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def main() -> None:
    """Writes docs/reference/http.md."""
    PAGE.write_text(document(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
