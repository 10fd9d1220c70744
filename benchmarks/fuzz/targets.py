"""What inputs are thrown at: tables, pictures, manifests and requests, with what must hold."""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.fuzz.mutate import mutate_bytes, mutate_json, mutate_text
from benchmarks.fuzz.requests import answer_fault, request_seeds
from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.table import TableConfig
from flowkd.data.manifest import MANIFEST, Manifest, read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import FlowkdError
from flowkd.store.store import Store

Mutate = Callable[[bytes, np.random.Generator], bytes]
# What a message for people must not hold.
UNFIT = re.compile(r"\bat 0x[0-9a-f]{6,}|errors\.pydantic\.dev|Traceback|[\x00-\x08\x0b-\x1f]")
LONGEST = 4000


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        seeds: Valid inputs, by the suffix of their file.
        mutations: How inputs of a suffix are changed; other suffixes as bytes.
        check: Returns what is wrong with how an input was taken; None if nothing is.
    """

    seeds: dict[str, bytes]
    mutations: dict[str, Mutate]
    check: Callable[[str, bytes], str | None]

    def mutate(self, suffix: str, data: bytes, generator: np.random.Generator) -> bytes:
        """Returns a changed input."""
        return self.mutations.get(Path(suffix).suffix or suffix, mutate_bytes)(data, generator)


def targets() -> dict[str, Target]:
    """Returns all kinds of input by name."""
    return {
        "tables": Target(_tables(), {".csv": mutate_text, ".tsv": mutate_text}, check_table),
        "pictures": Target(_pictures(), {}, check_pictures),
        "manifests": Target(_manifests(), {".json": mutate_json}, check_manifest),
        "requests": Target(request_seeds(), {".json": mutate_json}, answer_fault),
    }


def message_fault(text: str) -> str | None:
    """Returns what is wrong with a message for people."""
    found = UNFIT.search(text)
    if found:
        return f"a message holds {found[0]!r}: {text[:300]!r}"
    return f"a message of {len(text):,} characters" if len(text) > LONGEST else None


def check_table(suffix: str, data: bytes) -> str | None:
    """Imports a table; what is accepted must be finite, of one width, and have its statistics."""
    store = Store(f"memory://{uuid.uuid4().hex}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"table{suffix}")
        path.write_bytes(data)
        try:
            manifest = TableConfig(source=str(path), name="t").write(store)
        except FlowkdError as error:
            return message_fault(str(error).replace(folder, ""))
    assert manifest.mean is not None
    assert manifest.scale is not None
    if not np.isfinite([*manifest.mean, *manifest.scale]).all():
        return f"statistics that are not finite: {manifest.mean}, {manifest.scale}"
    for split in manifest.splits:
        x = load_split(store, manifest, split).x
        if not x.isfinite().all() or not x.square().isfinite().all():
            return f"values of {split} that are not finite, or not once they are squared"
    store.remove()
    return None


def check_pictures(suffix: str, data: bytes) -> str | None:
    """Imports a folder, or an archive, of pictures of which one has been changed."""
    store = Store(f"memory://{uuid.uuid4().hex}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"pictures{suffix}")
        path.write_bytes(data)
        archive = suffix in (".zip", ".tar")
        for number in range(0 if archive else 3):
            Path(folder, f"whole{number}.png").write_bytes(_picture("PNG", number))
        source = str(path if archive else folder)
        try:
            ImagesConfig(source=source, name="t", crop=8).write(store)
        except FlowkdError as error:
            return message_fault(str(error).replace(folder, ""))
    store.remove()
    return None


def check_manifest(suffix: str, data: bytes) -> str | None:
    """Reads a data set whose manifest has been changed, and all of its rows."""
    store = Store("memory://fuzz-manifests")
    store.write(data, "datasets", "digits", MANIFEST)
    try:
        manifest = read_manifest(store, "digits")
        for split in manifest.splits:
            load_split(store, manifest, split)
    except FlowkdError as error:
        return message_fault(str(error))
    return None


def _tables() -> dict[str, bytes]:
    values = np.random.default_rng(0).normal(size=(40, 3))
    table = pa.table({name: values[:, place] for place, name in enumerate("abc")})
    lines = ["a,b,c", *(",".join(map(repr, map(float, row))) for row in values)]
    text = "\n".join(lines).encode()
    found = {".csv": text, ".tsv": text.replace(b",", b"\t")}
    for suffix, write in (
        (".parquet", lambda file: pq.write_table(table, file)),
        (".npy", lambda file: np.save(file, values)),
        (".npz", lambda file: np.savez(file, x=values)),
        (".feather", lambda file: _arrow(table, file)),
    ):
        file = io.BytesIO()
        write(file)
        found[suffix] = file.getvalue()
    return found


def _arrow(table: pa.Table, file: io.BytesIO) -> None:
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _picture(format_: str, seed: int = 0) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(file, format_)
    return file.getvalue()


def _pictures() -> dict[str, bytes]:
    formats = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tiff": "TIFF", ".bmp": "BMP"}
    found = {suffix: _picture(format_) for suffix, format_ in formats.items()}
    for suffix, write in ((".zip", _zipped), (".tar", _tarred)):
        file = io.BytesIO()
        write(file)
        found[suffix] = file.getvalue()
    return found


def _members() -> Iterator[tuple[str, bytes]]:
    for number in range(6):
        yield f"p{number}.png", _picture("PNG", number)


def _zipped(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in _members():
            archive.writestr(name, data)


def _tarred(file: io.BytesIO) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in _members():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _manifests() -> dict[str, bytes]:
    manifest: Manifest = DigitsConfig(name="digits").write(Store("memory://fuzz-manifests"))
    return {".json": json.dumps(manifest.model_dump(mode="json")).encode()}
