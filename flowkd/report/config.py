"""Which page is asked for, apart from what draws it, which takes long to import."""

from __future__ import annotations

from flowkd.config import Config
from flowkd.names import ModelName, RunName


class ReportConfig(Config):
    """The page of a comparison that was made.

    Attributes:
        name: Of the comparison; the page is kept as `evaluations/NAME.html`.
        title: Of the page; default the comparison's name.
        model: Name of the model that one of its flows was published as; default none.
        alias: Alias of the version that was published.
    """

    name: RunName
    title: str | None = None
    model: ModelName | None = None
    alias: ModelName = "best"
