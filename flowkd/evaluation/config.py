"""What is compared, and on what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.evaluation.divergence import DivergenceConfig
from flowkd.evaluation.quality.measure import QualityConfig
from flowkd.flows.engine.choose import EngineName
from flowkd.names import RunName
from flowkd.tracking.config import TrackingConfig


class EvaluationConfig(Config):
    """What to compare, and on what.

    Attributes:
        name: The figures are kept as `evaluations/NAME.json`, this config beside them.
        flows: Label to reference; the first is what the others are compared with.
        dataset: Name of a prepared data set.
        split: Choose on `val`; report on `test`, once.
        rows: At most so many of it, and of `val`, on which the flows are compared as well.
        batch_size: Rows of a call whose throughput is measured; default 64.
        threads: Threads of torch while throughput is measured; default 1.
        seconds: About how long to measure throughput, log_prob and sampling each.
        engine: What computes the flows: `onnx`, `torch`, or `auto`, the former where it can be.
        precision: Of the networks within couplings: `float32`, the default; `bf16`, which torch
            computes, bits per dimension as well; or `auto`: throughput and samples are those of
            what is faster, measured before on this machine, bits per dimension stay in float32.
        quality: How samples of each flow are compared with rows of the split; none for not at all.
        divergence: How flows of tables are compared with the first by samples of both; none for
            not at all.
        tracking: Where the figures are sent besides the store.
    """

    name: RunName
    flows: dict[str, str] = Field(min_length=1)
    dataset: str
    split: str = "test"
    rows: int | None = Field(None, ge=2)
    batch_size: int = Field(64, ge=1)
    threads: int = Field(1, ge=1)
    seconds: float = Field(5.0, gt=0)
    engine: EngineName = "auto"
    precision: Literal["float32", "bf16", "auto"] = "float32"
    quality: QualityConfig | None = QualityConfig()
    divergence: DivergenceConfig | None = DivergenceConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _computes(self) -> EvaluationConfig:
        if self.engine == "onnx" and self.precision != "float32":
            raise ValueError(
                f"expected precision: float32 with engine: onnx, which has no other; got "
                f"{self.precision}: set engine to auto or torch"
            )
        return self
