"""Graphs of pieces: read where this machine has them, traced by torch where it has not.

A flow whose shapes are those of another has the same pieces, whatever its weights and its depth: so
one that was trained again is not traced again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from flowkd.flows.engine.kept import cache_root
from flowkd.flows.engine.pieces import Distinct, program_of
from flowkd.store.local_files import make_folder

MOST_KEPT = 4096  # of some ten kilobytes each
DIGEST_BYTES = hashlib.sha256().digest_size


def graphs_of(pieces: Sequence[Distinct]) -> list[Any]:
    """Returns an ONNX model of each piece: values and weights are its inputs.

    Raises:
        torch.onnx.OnnxExporterError: A layer that has no counterpart.
    """
    names = [_name(piece) for piece in pieces]
    graphs = [None if name is None else _read(name) for name in names]
    missing = [number for number, graph in enumerate(graphs) if graph is None]
    if missing:
        made = _traced([pieces[number] for number in missing])
        for number, graph in zip(missing, made, strict=True):
            graphs[number] = graph
            name = names[number]
            if name is not None:
                with contextlib.suppress(OSError):
                    _write(name, graph)
    return graphs


def code_digest() -> bytes:
    """Returns a digest of the code that computes flows, and that exports them."""
    digest = hashlib.sha256(torch.__version__.encode())
    package = Path(__file__).parents[2]
    code = (
        path for part in ("flows", "bijectors", "nn") for path in package.glob(f"{part}/**/*.py")
    )
    for path in sorted(code):
        digest.update(path.read_bytes())
    return digest.digest()


def _traced(pieces: Sequence[Distinct]) -> list[Any]:
    with _quiet():
        program = torch.onnx.export(program_of(pieces), dynamo=True, verbose=False)
    assert program is not None
    model = program.model_proto
    inputs, outputs = iter(model.graph.input), iter(model.graph.output)
    return [
        _cut(
            model, [next(inputs) for _ in piece.inputs], [next(outputs) for _ in range(piece.made)]
        )
        for piece in pieces
    ]


def _cut(model: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Returns the part of a model that leads from some of its inputs to some of its outputs."""
    from onnx import helper

    needed, nodes = {each.name for each in outputs}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(reads(node))
            nodes.append(_bare(node))
    nodes.reverse()
    constants = [each for each in model.graph.initializer if each.name in needed]
    made = {name for node in nodes for name in node.output}
    known = made.union(each.name for each in (*inputs, *constants))
    assert needed <= known, f"a piece reads what another computes: {needed - known}"
    types = [each for each in model.graph.value_info if each.name in made]
    graph = helper.make_graph(nodes, "piece", inputs, outputs, constants, value_info=types)
    cut = helper.make_model(graph, opset_imports=model.opset_import)
    cut.ir_version = model.ir_version
    return cut


def reads(node: Any) -> Iterator[str]:
    """Yields what a node reads, and what graphs within it do."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)


def _bare(node: Any) -> Any:
    """Returns a copy of a node without what tells where in a program it came from."""
    copied = type(node)()
    copied.CopyFrom(node)
    copied.ClearField("metadata_props")
    copied.ClearField("doc_string")
    return copied


def _name(piece: Distinct) -> str | None:
    """Returns under which name a piece is kept; None for code that is not flowkd's own."""
    if piece.structure is None:
        return None
    versions = " ".join(version(name) for name in ("onnx", "onnxscript"))
    digest = hashlib.sha256(_code_digest_once() + versions.encode())
    digest.update(piece.structure)
    return digest.hexdigest()


_code_digest_once = cache(code_digest)  # what runs is what was imported


def _root() -> Path:
    return cache_root() / "pieces"


def _read(name: str) -> Any:
    """Returns a piece that is kept and whole, or None."""
    import onnx

    path = _root() / name
    try:
        data = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    if hashlib.sha256(data[DIGEST_BYTES:]).digest() != data[:DIGEST_BYTES]:
        return None
    return onnx.load_from_string(data[DIGEST_BYTES:])


def _write(name: str, graph: Any) -> None:
    make_folder(_root())
    data = graph.SerializeToString()
    handle, temporary = tempfile.mkstemp(prefix=".", dir=_root())
    with os.fdopen(handle, "wb") as file:
        file.write(hashlib.sha256(data).digest() + data)
    Path(temporary).rename(_root() / name)
    kept = list(_root().iterdir())
    if len(kept) > MOST_KEPT:
        for path in sorted(kept, key=lambda path: path.stat().st_mtime)[: MOST_KEPT // 2]:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the exporter says of its own steps out of this process's output."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
