"""How large a student is, where its run names no flow: by parameters, or by time."""

from __future__ import annotations

from pydantic import Field, model_validator

from flowkd.config import Config

SHARE = 0.25  # of the parameters, where nothing is said


class StudentSize(Config):
    """How large a student is beside a larger flow, where its run names no flow.

    Attributes:
        share: Of the larger flow's parameters, at most; default 0.25, unless `throughput` is given.
        throughput: How many times as many rows a second as the larger flow, at least, by log_prob
            and by sampling, measured on one thread where the run is looked up first; default none.
    """

    share: float | None = Field(None, gt=0, lt=1)
    throughput: float | None = Field(None, gt=1)

    @model_validator(mode="after")
    def _one_size(self) -> StudentSize:
        if self.share is not None and self.throughput is not None:
            raise ValueError(
                f"expected share, of the parameters, or throughput, which measures; got share: "
                f"{self.share:g} and throughput: {self.throughput:g}: leave one of them out"
            )
        return self

    @property
    def parameters_share(self) -> float:
        """The share of the parameters that is not exceeded, where no throughput is asked for."""
        return SHARE if self.share is None else self.share
