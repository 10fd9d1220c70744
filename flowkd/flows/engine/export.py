"""A flow written out for other programs, in both directions, and compared with itself."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from flowkd.errors import ConfigError, FlowkdError
from flowkd.flows.engine.choose import agrees, need, rows_of_a_call
from flowkd.flows.engine.graphs import directions_of, export_programs, weights_digest, write_graphs
from flowkd.flows.engine.runtime import OnnxEngine, written
from flowkd.flows.flow import Engine, Flow

ExportFormat = Literal["onnx", "torch-export"]


class Programs:
    """The directions of a flow that are one pass as `torch.export` keeps them.

    Args:
        folder: Holds `log_prob.pt2` and `inverse.pt2`.
    """

    name = "torch-export"

    def __init__(self, folder: Path) -> None:
        self.directions = written(folder, "pt2")
        self._modules = {
            direction: torch.export.load(folder / f"{direction}.pt2").module()
            for direction in self.directions
        }

    def encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns z, and log_prob in nats, (B,)."""
        log_prob, z = self._run("log_prob", x, context)
        return z, log_prob

    def decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Returns x."""
        return self._run("inverse", z, context)

    def _run(self, direction: str, value: Tensor, context: Tensor | None) -> Any:
        return self._modules[direction](*(each for each in (value, context) if each is not None))


def export_flow(
    flow: Flow, folder: Path, kind: ExportFormat, facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes what of a flow is one pass into a new folder, in float32; returns `export.json`.

    Args:
        flow: Of any dtype and device; it is not changed.
        folder: Is not there yet.
        kind: `onnx` for `log_prob.onnx`, `inverse.onnx` and the weights of both, `weights.bin`;
            `torch-export` for `log_prob.pt2` and `inverse.pt2`.
        facts: What `export.json` tells besides; default nothing.

    Raises:
        ConfigError: The folder is there.
        FlowkdError: Neither direction is one pass, a package is missing, or what is read back is
            not within 1e-5 of the flow.
    """
    if folder.exists():
        raise ConfigError(f"expected a folder that is not there yet; got {folder}: name another")
    if not directions_of(flow):
        raise FlowkdError(
            "expected a flow that is one pass in a direction, to export that; got one of "
            "autoregressive steps of both kinds"
        )
    flow = copy.deepcopy(flow).cpu().float()
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        found: Engine
        if kind == "onnx":
            need("onnx", "onnxscript", "onnxruntime")
            write_graphs(flow, made)
            found = OnnxEngine(made, rows_of_a_call(flow))
        else:
            for direction, program in export_programs(flow).items():
                torch.export.save(program, made / f"{direction}.pt2")
            found = Programs(made)
        if not agrees(found, flow, flow):
            raise FlowkdError(
                f"the {kind} form of this flow is further than 1e-5 from it: please report it"
            )
        about = {**_about(flow, kind), **(facts or {})}
        (made / "export.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        made.chmod(0o755)  # a temporary folder is its maker's alone
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return about


def _about(flow: Flow, kind: ExportFormat) -> dict[str, Any]:
    return {
        "format": kind,
        "directions": list(directions_of(flow)),
        "digest": weights_digest(flow),
        "event_shape": list(flow.event_shape),
        "latent_shape": list(flow.latent_shape),
        "classes": flow.context.classes,
        "context_size": flow.context.size,
        "bins": flow.bins,
        "columns": flow.columns,
    }
