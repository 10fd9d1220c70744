"""Records that carry a hash of their own bytes: what was damaged since is noticed when it is read.

A sealed JSON object has `sha256` as its last key, of the object without it; sealed text ends with
a comment of YAML; a sealed line of JSON has `crc32` as its last key.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from typing import Any

from flowkd.errors import StoreError
from flowkd.store.store import Store

JSON_SEAL = re.compile(rb'(,?)\n  "sha256": "([0-9a-f]{64})"\n\}\n\Z')
TEXT_SEAL = re.compile(rb"# sha256: ([0-9a-f]{64})\n\Z")
LINE_SEAL = re.compile(rb', "crc32": "([0-9a-f]{8})"\}\Z')


def write_sealed(store: Store, value: dict[str, Any], *parts: str) -> None:
    """Writes a JSON object with its seal."""
    store.write(seal_json(value), *parts)


def read_sealed(store: Store, *parts: str) -> dict[str, Any]:
    """Returns a JSON object that was sealed, without its seal.

    Raises:
        StoreError: It is missing, or its bytes are not those that were written.
    """
    return unseal_json(store.read(*parts), _place(store, parts))


def write_sealed_text(store: Store, text: str, *parts: str) -> None:
    """Writes lines of YAML with their seal."""
    store.write(text.encode() + b"# sha256: " + _sha256(text.encode()) + b"\n", *parts)


def read_sealed_text(store: Store, *parts: str) -> str:
    """Returns lines of YAML that were sealed, without their seal.

    Raises:
        StoreError: They are missing, or their bytes are not those that were written.
    """
    data = store.read(*parts)
    seal = TEXT_SEAL.search(data)
    text = data[: seal.start()] if seal else data
    _check(text, seal[1] if seal else None, _place(store, parts))
    return text.decode()


def seal_json(value: dict[str, Any]) -> bytes:
    """Returns a JSON object, indented, with its seal.

    Examples:
        >>> unseal_json(seal_json({"version": "v1"}), "a record")
        {'version': 'v1'}
        >>> unseal_json(seal_json({"version": "v1"}).replace(b"v1", b"v3"), "a record")
        ... # doctest: +ELLIPSIS
        Traceback (most recent call last):
        flowkd.errors.StoreError: a record is damaged: expected content of SHA-256 ...
    """
    whole = json.dumps(value, indent=2).encode()
    inner = whole[:-1].rstrip(b"\n") + (b"," if value else b"")
    return inner + b'\n  "sha256": "' + _sha256(whole) + b'"\n}\n'


def unseal_json(data: bytes, place: str) -> dict[str, Any]:
    """Returns a sealed JSON object; raises StoreError, which names its place, for another one."""
    seal = JSON_SEAL.search(data)
    whole = data[: seal.start()] + (b"\n}" if seal[1] else b"}") if seal else data
    _check(whole, seal[2] if seal else None, place)
    found: dict[str, Any] = json.loads(whole)
    return found


def seal_line(record: dict[str, Any]) -> bytes:
    """Returns a record, which is not empty, as a line of JSON with its seal."""
    line = json.dumps(record).encode()
    return line[:-1] + b', "crc32": "%08x"}\n' % zlib.crc32(line)


def unseal_line(line: bytes) -> dict[str, Any] | None:
    """Returns the record of a sealed line, given without its end; None if it is damaged."""
    seal = LINE_SEAL.search(line)
    whole = line[: seal.start()] + b"}" if seal else b""
    if seal is None or b"%08x" % zlib.crc32(whole) != seal[1]:
        return None
    found: dict[str, Any] = json.loads(whole)
    return found


def _check(data: bytes, expected: bytes | None, place: str) -> None:
    if expected is None:
        raise StoreError(
            f"{place} is damaged: expected a record that ends with its SHA-256; got "
            f"{len(data)} bytes that end with {data[-20:]!r}: restore it from a copy, or remove it"
        )
    if _sha256(data) != expected:
        raise StoreError(
            f"{place} is damaged: expected content of SHA-256 {expected[:12].decode()}, as it was "
            f"written; got {_sha256(data)[:12].decode()}: restore it from a copy, or remove it"
        )


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _place(store: Store, parts: tuple[str, ...]) -> str:
    return f"{'/'.join(parts)} of {store}"
