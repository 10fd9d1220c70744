"""In which precision something takes less time on this machine: measured, not assumed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch

from flowkd.store.choices import Found

Precision = Literal["float32", "bf16"]
CANDIDATES: tuple[Precision, ...] = ("float32", "bf16")
ROUNDS = 3
# Of the ordinary way's time: another has to win by more than what a measurement is off.
WORTH_IT = 0.9
# A round more cannot make up for it.
HOPELESS = 1.5


class FoundPrecision(Found):
    """The precision that was faster, and where.

    Attributes:
        precision: The faster one; float32 unless bf16 takes at most nine tenths of its time.
        compiled: Whether it was worth it to compile a training step as well.
        milliseconds: By the way in which it was computed.
        machine: Model of the CPU or GPU.
        seconds: That the measurement took.
        work: What took that time, in words.
        trouble: Why it could not be compiled, where that was to be tried.
    """

    precision: Precision
    compiled: bool = False
    milliseconds: dict[str, float]
    machine: str
    seconds: float
    work: str = "a step"
    trouble: str | None = None

    def __str__(self) -> str:
        times = ", ".join(f"{name} {value:.3g} ms" for name, value in self.milliseconds.items())
        how = "as another run found" if self.shared else f"measured in {self.seconds:.1f} s"
        chosen = f"{self.precision}, compiled" if self.compiled else self.precision
        trouble = f"; not compiled: {self.trouble}" if self.trouble else ""
        return f"precision {chosen}: {self.work} takes {times} on {self.machine}, {how}{trouble}"


def time_in_turns(
    calls: Mapping[str, Callable[[], object]], device: torch.device | str = "cpu"
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns the least seconds of each call in a few rounds, and those of its very first time.

    Args:
        calls: By name; once all others are hopeless beside the first, no round is made any more.
        device: Where they compute, which is waited for.
    """
    first = {name: _seconds(call, device) for name, call in calls.items()}
    best = dict.fromkeys(calls, float("inf"))
    ordinary, *others = calls
    for _ in range(ROUNDS):
        for name, call in calls.items():
            best[name] = min(best[name], _seconds(call, device))
        if min((best[name] for name in others), default=0.0) > HOPELESS * best[ordinary]:
            break
    return best, first


def _seconds(call: Callable[[], object], device: torch.device | str) -> float:
    began = time.perf_counter()
    call()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def faster_precision(
    calls: Mapping[Precision, Callable[[], object]], device: torch.device | str, work: str
) -> FoundPrecision:
    """Times the same work in both precisions and returns the choice.

    Args:
        calls: What does the work, by precision.
        device: Where.
        work: What it is, in words.
    """
    began = time.perf_counter()
    best, _ = time_in_turns({name: calls[name] for name in CANDIDATES}, device)
    faster = best["bf16"] <= WORTH_IT * best["float32"]
    return FoundPrecision(
        precision="bf16" if faster else "float32",
        milliseconds={name: round(1000 * seconds, 3) for name, seconds in best.items()},
        machine=machine_name(device),
        seconds=round(time.perf_counter() - began, 1),
        work=work,
    )


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
