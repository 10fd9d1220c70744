"""A search's report: a placeholder until the page is built."""

from __future__ import annotations

from typing import Any

from flowkd.store import Store
from tuning.config import SearchConfig
from tuning.records import Trial


def write_report(
    config: SearchConfig, store: Store, trials: list[Trial], outcome: dict[str, Any] | None
) -> None:
    """Writes the report."""
