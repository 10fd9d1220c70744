"""Compares flows on held-out data: likelihood, parameters, throughput."""

from __future__ import annotations

from cluster.storage import StorageConfig
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.tracked import track_comparison
from jobs.cli.console import hint
from jobs.cli.entry import run_job
from jobs.cli.tables import figures_table


def evaluate_flows(config: EvaluationConfig, storage: StorageConfig) -> None:
    """Evaluate flows on the test split, beside each other, and keep the figures in the store."""
    store = storage.store()
    figures = evaluate(config, store, tell=hint)
    figures_table(figures)
    track_comparison(config, figures, store, hint)


if __name__ == "__main__":
    run_job(EvaluationConfig, evaluate_flows, local=True)
