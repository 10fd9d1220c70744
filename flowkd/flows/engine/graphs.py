"""A flow as graphs of both directions that other runtimes run, their weights stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from flowkd.flows.engine.assembly import Assembly
from flowkd.flows.engine.layers import Exported
from flowkd.flows.engine.pieces import Pieces
from flowkd.flows.engine.traced import code_digest, graphs_of
from flowkd.flows.flow import Flow

OUTPUTS = {"log_prob": ("log_prob", "z"), "inverse": ("x",)}
DIRECTIONS = tuple(OUTPUTS)
WEIGHTS = "weights.bin"
# What is smaller stays in the graph, where a runtime sees it as a constant.
SMALL_BYTES = 1024
ALIGNMENT = 4096  # so that a runtime may map the file into memory


class LogProb(nn.Module):
    """What `log_prob.onnx` computes: x, and its context, to log_prob (B,) and z.

    Args:
        form: Of the flow.
    """

    def __init__(self, form: Exported) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps rows to their log-density in nats, and to latents."""
        return self.form.log_prob(x, context)


class Inverse(nn.Module):
    """What `inverse.onnx` computes: z, and its context, to x.

    Args:
        form: Of the flow.
    """

    def __init__(self, form: Exported) -> None:
        super().__init__()
        self.form = form

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latents to data."""
        return self.form.inverse(z, context)


def directions_of(flow: Flow) -> tuple[str, ...]:
    """Returns the directions of a flow that are one pass, which graphs compute."""
    passes = dict(zip(DIRECTIONS, flow.one_pass.values(), strict=True))
    return tuple(direction for direction in DIRECTIONS if passes[direction])


def export_programs(flow: Flow) -> dict[str, ExportedProgram]:
    """Returns the directions of one pass as programs of `torch.export`, for any number of rows.

    Args:
        flow: Of any dtype; the programs are in float32.
    """
    return {
        direction: _program(module, *example_inputs(flow, direction))
        for direction, module in _modules(flow).items()
    }


def write_graphs(flow: Flow, folder: Path) -> None:
    """Writes `log_prob.onnx` and `inverse.onnx`, and the weights of both into `weights.bin`.

    A direction that is not one pass, of an autoregressive flow, is not written.

    Inputs are `x` or `z`, (B, *event_shape) in float32, and, of a conditional flow, `context`:
    classes (B,) in int64 or vectors (B, size) in float64, in data units. B is any number of rows.

    Args:
        flow: Of any dtype; the graphs are in float32.
        folder: Exists.

    Raises:
        torch.onnx.OnnxExporterError: A layer that has no counterpart.
    """
    pieces = Pieces(Exported(flow))
    recordings = {
        direction: pieces.record(direction, *example_inputs(flow, direction))
        for direction in directions_of(flow)
    }
    assembly = Assembly(pieces, graphs_of(pieces.distinct))
    made = {
        direction: assembly.model(recording, OUTPUTS[direction])
        for direction, recording in recordings.items()
    }
    _write_sharing(made, folder)


def weights_digest(flow: Flow) -> str:
    """Returns a digest of a flow's weights and parts, and of the code that exports them."""
    about = f"{flow.event_shape} {flow.context} {flow.chain}"
    digest = hashlib.sha256(code_digest() + about.encode())
    for name, value in sorted({**flow.state_dict(), **dict(flow.named_buffers())}.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def example_inputs(
    flow: Flow, direction: str, rows: int = 2
) -> tuple[tuple[Tensor, ...], list[str]]:
    """Returns inputs of a direction's graph, and their names."""
    shape = flow.event_shape if direction == "log_prob" else flow.latent_shape
    values, names = [torch.zeros(rows, *shape)], ["x" if direction == "log_prob" else "z"]
    if flow.context.classes:
        values.append(torch.zeros(rows, dtype=torch.int64))
    elif flow.context.size:
        values.append(torch.zeros(rows, flow.context.size, dtype=torch.float64))
    return tuple(values), [*names, "context"][: len(values)]


def _modules(flow: Flow) -> dict[str, LogProb | Inverse]:
    form = Exported(flow)
    modules: dict[str, LogProb | Inverse] = {"log_prob": LogProb(form), "inverse": Inverse(form)}
    return {direction: modules[direction] for direction in directions_of(flow)}


def _program(module: nn.Module, values: tuple[Tensor, ...], names: list[str]) -> ExportedProgram:
    batch = Dim("batch", min=1)
    shapes = {name: {0: batch} for name in names}
    with torch.no_grad():
        return torch.export.export(module, values, dynamic_shapes=shapes, strict=False)


def _write_sharing(models: Mapping[str, Any], folder: Path) -> None:
    """Writes graphs beside one file of weights, in which what several of them hold lies once."""
    from onnx import TensorProto

    places: dict[bytes, int] = {}
    with open(folder / WEIGHTS, "wb") as file:
        for model in models.values():
            for tensor in model.graph.initializer:
                data = tensor.raw_data
                if len(data) < SMALL_BYTES:
                    continue
                key = hashlib.sha256(data).digest()
                if key not in places:
                    file.write(bytes(-file.tell() % ALIGNMENT))
                    places[key] = file.tell()
                    file.write(data)
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                found = {"location": WEIGHTS, "offset": places[key], "length": len(data)}
                for name, value in found.items():
                    tensor.external_data.add(key=name, value=str(value))
    for direction, model in models.items():
        (folder / f"{direction}.onnx").write_bytes(model.SerializeToString())
