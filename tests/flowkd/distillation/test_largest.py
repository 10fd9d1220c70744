"""What a weight is at most, by which a term counts, or need not be computed."""

from __future__ import annotations

import pytest

from flowkd.distillation.schedules import Cosine, Linear, LossWeights, Piecewise, Scheduled

SCHEDULES: list[Scheduled] = [
    Cosine(start=0.5),
    Cosine(start=2.0, until=0.3),
    Linear(end=0.7),
    Linear(start=0.7, end=0.0),
    Linear(start=0.7, end=0.2, until=0.5),
    Linear(start=0.0, end=0.0),
    Piecewise(values=(0.1, 0.9, 0.0), until=(0.2, 0.4, 1.0)),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_the_largest_is_that_of_all_steps(schedule: Scheduled) -> None:
    seen = [schedule.at(step / 1000) for step in range(1001)]
    assert schedule.largest == max(seen)
    assert LossWeights(nll=1, latent=schedule).ever("latent") == any(seen)
