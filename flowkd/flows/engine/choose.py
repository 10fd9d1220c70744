"""Which engine computes a flow, and whether what it computes is the flow."""

from __future__ import annotations

import copy
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from flowkd.errors import ConfigError, FlowkdError
from flowkd.flows.context import example_context
from flowkd.flows.engine.graphs import directions_of, weights_digest, write_graphs
from flowkd.flows.engine.kept import forget, keep
from flowkd.flows.engine.runtime import OnnxEngine
from flowkd.flows.flow import Engine, Flow

EngineName = Literal["auto", "torch", "onnx"]
TOLERANCE = 1e-5
CHECKED_ROWS = 3
# Rounding in another order may be so much further from the exact value than torch's own.
ROUNDING = 8.0
REASON = "does-not-export.txt"
CALL_VALUES, MOST_ROWS = 2**17, 256


class EngineError(FlowkdError):
    """ONNX Runtime cannot compute this flow here; torch can."""


class UnsuitedError(EngineError):
    """It never does: not in this precision, or not on this device."""


def choose_engine(flow: Flow, form: Flow, engine: EngineName) -> OnnxEngine | None:
    """Returns the engine that is asked for, None for torch.

    Args:
        flow: Of which the graphs are kept.
        form: Its form for inference, in torch.
        engine: `auto` is ONNX Runtime for a flow in float32 on a CPU, and torch where that cannot
            be, with a remark, or where FLOWKD_ENGINE says so.

    Raises:
        EngineError: ONNX Runtime is asked for, and cannot compute this flow here.
        ConfigError: No such engine.
    """
    wanted = os.environ.get("FLOWKD_ENGINE", "auto") if engine == "auto" else engine
    if wanted not in get_args(EngineName):
        where = "FLOWKD_ENGINE" if engine == "auto" else "engine"
        raise ConfigError(
            f"{where}: expected one of {', '.join(get_args(EngineName))}; got {wanted!r}"
        )
    if wanted == "torch":
        return None
    try:
        return open_engine(flow, form)
    except EngineError as error:
        if wanted == "onnx":
            raise
        if not isinstance(error, UnsuitedError):
            warnings.warn(f"torch computes this flow, more slowly: {error}", stacklevel=4)
        return None


def open_engine(flow: Flow, form: Flow) -> OnnxEngine:
    """Returns a flow's engine, built where this machine keeps none of these weights, and checked.

    Raises:
        EngineError: A package is missing, a layer does not export, or the check fails.
    """
    kinds = {(value.dtype, value.device.type) for value in form.parameters()}
    if kinds != {(torch.float32, "cpu")}:
        raise UnsuitedError(f"expected a flow in float32 on a CPU for ONNX Runtime; got {kinds}")
    if not directions_of(flow):
        raise UnsuitedError("expected a flow that is one pass in a direction; got one of none")
    need("onnxruntime")
    digest = weights_digest(flow)
    for _ in range(2):  # what was kept may be damaged
        found = _opened(digest, flow)
        if found is not None and agrees(found, flow, form):
            return found
        forget(digest)
    raise EngineError(
        f"what ONNX Runtime computes is further than {TOLERANCE:g} from torch's: please report it"
    )


def need(*packages: str) -> None:
    """Raises EngineError, with what to do, unless packages are installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise EngineError(
            f"{', '.join(missing)} is not installed: pip install 'flowkd[onnx]', or choose "
            f"engine: torch"
        )


def _opened(digest: str, flow: Flow) -> OnnxEngine | None:
    """Returns the engine of the graphs that are kept, built if need be; None if damaged."""

    def build(folder: Path) -> None:
        need("onnx", "onnxscript")
        try:
            write_graphs(flow, folder)
        except Exception as error:  # the exporter's errors share no base
            cause = error.__cause__ or error
            first = (str(cause).strip() or type(cause).__name__).splitlines()[0]
            (folder / REASON).write_text(first, encoding="utf-8")

    try:
        folder = keep(digest, build)
        reason = folder / REASON
        known = reason.read_text("utf-8") if reason.exists() else None
    except OSError as error:
        raise EngineError(f"its graphs cannot be kept: {error}: set FLOWKD_CACHE") from error
    if known is not None:
        raise EngineError(f"a layer of it does not export: {known}")
    try:
        return OnnxEngine(folder, rows_of_a_call(flow))
    except Exception:  # the runtime's errors share no base
        return None


def rows_of_a_call(flow: Flow) -> int:
    """Returns the most rows of one call, fewer of larger examples: more are hardly faster."""
    return max(1, min(MOST_ROWS, CALL_VALUES // flow.dimensions))


@torch.no_grad()
def agrees(engine: Engine, flow: Flow, form: Flow) -> bool:
    """Tells whether an engine computes log_prob and x as torch does, but for rounding.

    That is within 1e-5 of torch's, relative to the larger of the value and the number of
    dimensions; or, where torch's own rounding is larger than that, as close to float64.
    """
    z = form.draw_latents(CHECKED_ROWS, generator=torch.Generator().manual_seed(0))
    context = example_context(flow.context, flow.context_units, CHECKED_ROWS)
    x = form.inverse(z, context)
    got, known = [], []
    try:
        if "log_prob" in engine.directions:
            got.append(engine.encode(x, context)[1])
            known.append(form.log_prob(x, context))
        if "inverse" in engine.directions:
            got.append(engine.decode(z, context))
            known.append(x)
    except Exception:  # of the runtime's own, for a graph of other inputs
        return False
    if _close(got, known, flow, TOLERANCE):
        return True
    exact = copy.deepcopy(flow).double()
    truth = [
        exact.log_prob(x.double(), context)
        if direction == "log_prob"
        else exact.inverse(z.double(), context)
        for direction in engine.directions
    ]
    return all(
        _off(ours, true, flow) <= max(TOLERANCE, ROUNDING * _off(theirs, true, flow))
        for ours, theirs, true in zip(got, known, truth, strict=True)
    )


def _close(got: list[Tensor], known: list[Tensor], flow: Flow, within: float) -> bool:
    return all(_off(a, b, flow) <= within for a, b in zip(got, known, strict=True))


def _off(got: Tensor, known: Tensor, flow: Flow) -> float:
    """Returns the largest difference, relative to the row's largest value; NaN is no difference."""
    got, known = (rows.double().reshape(CHECKED_ROWS, -1) for rows in (got, known))
    least = flow.dimensions if known.shape[1] == 1 else 1.0
    scale = known.abs().amax(1, keepdim=True).clamp(min=least)
    return ((got - known) / scale).nan_to_num(nan=0.0, posinf=torch.inf).abs().max().item()
