"""The units of the data that a flow of another library was trained on, as its user gives them."""

from __future__ import annotations

from flowkd.config import Config

Values = float | tuple[float, ...]


class Units(Config):
    """What takes data to what another library's flow sees.

    Attributes:
        mean: Subtracted from the data, one number or one for each channel; default 0, or what the
            flow's own first layer subtracts.
        scale: What the data are divided by then; default 1, or as the mean.
        context_mean: Subtracted from context vectors, in the same form; default 0.
        context_scale: What they are divided by then; default 1.
    """

    mean: Values | None = None
    scale: Values | None = None
    context_mean: Values | None = None
    context_scale: Values | None = None

    @property
    def of_context(self) -> tuple[Values, Values]:
        """Mean and scale of context vectors."""
        return (
            0.0 if self.context_mean is None else self.context_mean,
            1.0 if self.context_scale is None else self.context_scale,
        )
