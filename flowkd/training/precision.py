"""In which precision a flow's networks take less time on this machine: measured, not assumed."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from flowkd.config import Config
from flowkd.flows.build import build_flow
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow

Precision = Literal["float32", "bf16"]
CANDIDATES: tuple[Precision, ...] = ("float32", "bf16")
ROUNDS = 3
# Of float32's time: bf16 has to win by more than what a measurement is off.
WORTH_IT = 0.9
# A round more cannot make up for it.
HOPELESS = 1.5


class FoundPrecision(Config):
    """The precision that was faster, and where.

    Attributes:
        precision: The faster one; float32 unless bf16 takes at most nine tenths of its time.
        milliseconds: Of a training step in each.
        machine: Model of the CPU or GPU.
        seconds: That the measurement took.
        shared: Whether another run of this flow had measured it on such a machine.
    """

    precision: Precision
    milliseconds: dict[str, float]
    machine: str
    seconds: float
    shared: bool = False

    def __str__(self) -> str:
        times = ", ".join(f"{name} {value:.3g} ms" for name, value in self.milliseconds.items())
        how = "as another run found" if self.shared else f"measured in {self.seconds:.1f} s"
        return f"precision {self.precision}: a step takes {times} on {self.machine}, {how}"


def measure_precision(
    config: FlowConfig, rows: int, device: torch.device | str = "cpu"
) -> FoundPrecision:
    """Times training steps of a new flow in each precision, in turns.

    Args:
        config: Complete.
        rows: Of a worker's batch.
        device: Where it would be trained.
    """
    began = time.perf_counter()
    device = torch.device(device)
    flow = build_flow(config).to(device)
    x, context = _rows(flow, rows, device)
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for number in range(ROUNDS + 1):
        for name in CANDIDATES:
            taken = _step(flow, name, x, context)
            if number:  # the first round warms up
                times[name].append(taken)
        if number and min(times["bf16"]) > HOPELESS * min(times["float32"]):
            break
    best = {name: min(measured) for name, measured in times.items()}
    faster = best["bf16"] <= WORTH_IT * best["float32"]
    return FoundPrecision(
        precision="bf16" if faster else "float32",
        milliseconds={name: round(1000 * seconds, 3) for name, seconds in best.items()},
        machine=machine_name(device),
        seconds=round(time.perf_counter() - began, 1),
    )


def _step(flow: Flow, name: Precision, x: Tensor, context: Tensor | None) -> float:
    flow.precision = name
    flow.zero_grad()
    began = time.perf_counter()
    (-flow.log_prob(x, context).mean()).backward()
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - began


def _rows(flow: Flow, rows: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Returns rows of order one in data units, and a context for them."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = torch.randn(rows, *flow.event_shape, generator=source).to(device)
        x, _ = flow.preprocess.inverse(drawn)
    if flow.context.classes:
        return x, torch.zeros(rows, dtype=torch.int64, device=device)
    if flow.context.size:
        return x, torch.zeros(rows, flow.context.size, device=device)
    return x, None


def machine_name(device: torch.device | str = "cpu") -> str:
    """Returns the model of the GPU, or of the CPU as far as the system tells it."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
