"""The forms of a flow in which its figures are measured: as it is served, in some precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from flowkd.config import dump_config
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import rows_for
from flowkd.flows.build import config_of
from flowkd.flows.engine.choose import EngineName
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference
from flowkd.flows.precision import FoundPrecision, Precision, faster_precision, machine_name
from flowkd.store.choices import Choices
from flowkd.store.store import Store


@dataclass(frozen=True)
class Served:
    """A flow in its form for inference.

    Attributes:
        flow: What throughput and quality are measured of.
        judged: What bits per dimension are computed with: in float32, unless bf16 is asked for by
            its name.
        found: How its precision was found; None where it was given.
    """

    flow: Flow
    judged: Flow
    found: FoundPrecision | None = None

    @property
    def precision(self) -> Precision:
        """In which the networks of `flow` compute."""
        return self.flow.precision

    @property
    def engine(self) -> str:
        """What computes `flow`."""
        return engine_of(self.flow)


def engine_of(form: Flow) -> str:
    """Returns the name of what computes a flow's form for inference: `onnx` or `torch`."""
    return "torch" if form.engine is None else form.engine.name


@dataclass(frozen=True)
class Forms:
    """Which forms flows are served in.

    Attributes:
        engine: What computes a flow in float32; in bf16 torch does.
        precision: Of its networks; `auto`: what is measured to be faster.
        batch_size: Rows of a call that is measured.
        threads: Threads of torch then.
    """

    engine: EngineName = "auto"
    precision: Precision | Literal["auto"] = "float32"
    batch_size: int = 64
    threads: int = 1

    def of(self, flow: Flow, rows: Examples, bins: int | None, store: Store) -> Served:
        """Returns a flow as it is served.

        Args:
            flow: As it was trained, in float32.
            rows: The first of them are computed where something is measured.
            bins: Number of their integer values; None if they are continuous.
            store: Keeps what is found.
        """
        exact = for_inference(flow, self.engine) if self.precision != "bf16" else None
        if exact is not None and self.precision == "float32":
            return Served(exact, exact)
        half = for_inference(flow, "torch")
        half.precision = "bf16"
        if exact is None:
            return Served(half, half)
        found = self._choices(flow, exact, rows, store).found(
            lambda: self._measured(exact, half, rows, bins)
        )
        return Served(half if found.precision == "bf16" else exact, exact, found)

    @torch.no_grad()
    def _measured(
        self, exact: Flow, half: Flow, rows: Examples, bins: int | None
    ) -> FoundPrecision:
        batch = next(evaluation_batches(rows_for(exact, rows), bins, self.batch_size, seed=0))
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            calls: dict[Precision, Callable[[], object]] = {
                "float32": lambda: exact.log_prob(batch.x, batch.context),
                "bf16": lambda: half.log_prob(batch.x, batch.context),
            }
            return faster_precision(calls, "cpu", f"log_prob of {len(batch)} rows")
        finally:
            torch.set_num_threads(before)

    def _choices(
        self, flow: Flow, exact: Flow, rows: Examples, store: Store
    ) -> Choices[FoundPrecision]:
        facts = {
            "machine": machine_name(),
            "threads": self.threads,
            "torch": torch.__version__,
            "flow": dump_config(config_of(flow)),
            "rows": min(self.batch_size, len(rows)),
            "engine": engine_of(exact),
        }
        return Choices(store, "precisions", facts, FoundPrecision)
