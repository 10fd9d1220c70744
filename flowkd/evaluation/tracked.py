"""A comparison as an MLflow server sees it: a run with the figures of each flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.figures import FlowFigures
from flowkd.store.store import Store
from flowkd.tracking.background import Background
from flowkd.tracking.mlflow_run import MlflowRun, explain

FIGURES = (
    "bits_per_dim", "standard_error", "parameters", "log_prob_per_second", "samples_per_second",
    "steps", "round_trip",
)  # fmt: skip


def track_comparison(
    config: EvaluationConfig,
    figures: Mapping[str, FlowFigures],
    store: Store,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Sends the figures of a comparison to the server that its config names, within seconds.

    Args:
        config: What was compared.
        figures: Of each flow, by its label.
        store: Where all of it is.
        tell: Called with why nothing is sent.
    """
    if config.tracking.mlflow is None:
        return
    sent = False

    def send(ending: bool) -> None:
        nonlocal sent
        if sent or not ending:
            return
        name = f"evaluations/{config.name}"
        tags = {"flowkd.comparison": name, "flowkd.store": str(store)}
        tags |= {f"flowkd.{label}": found.reference for label, found in figures.items()}
        run = MlflowRun(config.tracking, name, tags)
        run.log_parameters(config.model_dump(mode="json", exclude={"tracking"}))
        run.log_figures(
            {
                f"{label}.{key}": float(getattr(found, key))
                for label, found in figures.items()
                for key in FIGURES
            }
        )
        run.end("FINISHED")
        sent = True

    told: list[Exception] = []
    background = Background(send, told.append)
    if not background.end() and not told:
        tell(f"MLflow at {config.tracking.mlflow} does not answer: the store has the comparison")
    for error in told:
        tell(explain(error, config.tracking))
