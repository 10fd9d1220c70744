"""Properties of the Pareto front: exactly the points that no other one dominates."""

import numpy as np
import pytest

from flowkd.evaluation.pareto import pareto_front


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_other_point_dominates(seed):
    generator = np.random.default_rng(seed)
    points = [
        (number, *pair)
        for number, pair in enumerate(
            generator.integers(0, 8, (generator.integers(0, 30), 2)).tolist()
        )
    ]

    def dominated(one):
        return any(
            other[1] <= one[1] and other[2] <= one[2] and other[1:] != one[1:] for other in points
        )

    front = pareto_front(points, cost=lambda p: p[1], loss=lambda p: p[2])
    assert set(front) == {point for point in points if not dominated(point)}
    assert [point[1] for point in front] == sorted(point[1] for point in front)
