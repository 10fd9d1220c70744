"""The progress of a run shows every term that it is trained on."""

from flowkd.distillation.schedules import LossWeights
from jobs.cli.progress import figures_of, steps_of
from tests.support.small_runs import training


def test_every_term_is_shown() -> None:
    latest = dict.fromkeys(LossWeights.model_fields, 0.5)
    said = figures_of({"step": 1, "loss": 1.0, "seconds": 3.0, **latest})
    assert said.split("  ") == ["loss 1.0000", *(f"{name} 0.5000" for name in latest)]


def test_an_end_that_is_open_is_told_as_the_most() -> None:
    fixed, open_ = (
        training("a", train={"steps": steps, "learning_rate": 0.1}) for steps in (2000, "auto")
    )
    assert steps_of(fixed, {"step": 20}) == "20 of 2,000"
    assert steps_of(open_, {"step": 20}) == "20 of at most 100,000"
    assert steps_of(open_, {"step": 1300, "ends_at": 1500}) == "1,300 of 1,500"
