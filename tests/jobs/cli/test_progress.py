"""The progress of a run shows every term that it is trained on."""

from flowkd.distillation.schedules import LossWeights
from jobs.cli.progress import figures_of


def test_every_term_is_shown() -> None:
    latest = dict.fromkeys(LossWeights.model_fields, 0.5)
    said = figures_of({"step": 1, "loss": 1.0, "seconds": 3.0, **latest})
    assert said.split("  ") == ["loss 1.0000", *(f"{name} 0.5000" for name in latest)]
