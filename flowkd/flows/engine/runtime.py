"""Graphs of a flow in ONNX Runtime, on the threads that torch has."""

from __future__ import annotations

import timeit
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkd.flows.engine.graphs import DIRECTIONS

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
WORTH_THREADS = 0.005  # seconds of one thread
MEASURED_ROWS = 8


class OnnxEngine:
    """The directions of a flow that are one pass in ONNX Runtime, in float32 on a CPU.

    It has as many threads as torch has in the thread that calls it, for calls that take long: what
    one thread computes within WORTH_THREADS is computed by one, for others that do not spin take
    longer to wake. Both give the same numbers, to the last bit. Rows beyond `rows` are computed in
    several calls: ONNX Runtime keeps the memory of its largest call for as long as it lives.

    Args:
        folder: Holds what `write_graphs` wrote.
        rows: The most of one call.

    Attributes:
        directions: Those that were written.
    """

    name = "onnx"

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder, self.rows = folder, rows
        self.directions = written(folder, "onnx")
        self._sessions = {each: self._opened(each, 1) for each in self.directions}
        self._wide: dict[tuple[str, int], Any] = {}
        self._seconds: dict[str, float] = {}

    def encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns z, and log_prob in nats, (B,)."""
        log_prob, z = self._run("log_prob", "x", x, context)
        return z, log_prob

    def decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Returns x."""
        return self._run("inverse", "z", z, context)[0]

    def _opened(self, direction: str, threads: int) -> Any:
        return open_session(self.folder / f"{direction}.onnx", threads)

    def _session(self, direction: str, count: int) -> Any:
        """Returns the session for a call of so many rows."""
        threads, one = torch.get_num_threads(), self._sessions[direction]
        if threads == 1:
            return one
        if direction not in self._seconds:
            self._seconds[direction] = seconds_of_a_row(one, min(MEASURED_ROWS, self.rows))
        if min(count, self.rows) * self._seconds[direction] < WORTH_THREADS:
            return one
        if (direction, threads) not in self._wide:
            self._wide = {key: each for key, each in self._wide.items() if key[1] == threads}
            self._wide[direction, threads] = self._opened(direction, threads)
        return self._wide[direction, threads]

    def _run(
        self, direction: str, name: str, value: Tensor, context: Tensor | None
    ) -> list[Tensor]:
        given = {name: value.detach().contiguous().numpy()}
        if context is not None:
            exact = context if context.dtype == torch.int64 else context.double()
            given["context"] = exact.detach().contiguous().numpy()
        count = value.shape[0]
        session = self._session(direction, count)
        if count <= self.rows:
            return [torch.from_numpy(part) for part in session.run(None, given)]
        parts = [
            session.run(None, {key: rows[start : start + self.rows] for key, rows in given.items()})
            for start in range(0, count, self.rows)
        ]
        return [torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True)]


def written(folder: Path, suffix: str) -> tuple[str, ...]:
    """Returns the directions of which a folder holds a file.

    Raises:
        FileNotFoundError: It holds none.
    """
    found = tuple(each for each in DIRECTIONS if (folder / f"{each}.{suffix}").exists())
    if not found:
        raise FileNotFoundError(f"expected a graph in {folder}; got none")
    return found


def seconds_of_a_row(session: Any, rows: int) -> float:
    """Returns the seconds that a row takes, of so many zeros in a call."""
    given = {
        each.name: np.zeros((rows, *each.shape[1:]), TYPES[each.type])
        for each in session.get_inputs()
    }
    return min(timeit.repeat(lambda: session.run(None, given), number=1, repeat=3)) / rows


def open_session(path: Path, threads: int) -> Any:
    """Returns a session of a graph.

    Threads are given, for by default there is one for each core that the machine has, and each is
    bound to its own, whether or not this process may use that core. They do not spin while they
    wait, which would take the cores from others.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # one more for each number of rows
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
