"""Which couplings `fold` lets go: greedily, those whose linear fits cost the least likelihood."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from flowkd.bijectors import Permute
from flowkd.distillation.warmstart.affine import Affine
from flowkd.distillation.warmstart.layout import Unit, blocks
from flowkd.distillation.warmstart.prune_steps import Choice
from flowkd.distillation.warmstart.steps import FittedLevel, FittedStep
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import standard_normal_log_prob
from tests.support.small_flows import randomise
from tests.support.taught_flows import GLOW, TABLE, couplings, data, smaller, taught

DEEP = smaller(TABLE, depth=6)


def first_level(
    config: FlowConfig, seed: int
) -> tuple[FittedLevel, list[Unit], Tensor, Tensor | None]:
    """A flow's first level, all units after it, and what the level meets."""
    h, context = data(config)
    flow = taught(config)
    for coupling in couplings(flow):
        randomise(coupling.conditioner.last, seed=seed, by=0.1)
    vectors = flow.encode_context(context, h)
    units = list(blocks(flow))
    number = next(n for n, each in enumerate(units) if each[0].is_step)
    for unit in [unit for each in units[:number] for unit in each]:
        h, _ = unit(h, vectors)
    parts = [FittedStep(Affine.of(unit.step), unit.mapped) for unit in units[number]]
    level = FittedLevel(parts, units[number][0].channels)
    return level, [unit for each in units[number + 1 :] for unit in each], h, vectors


def likelihood(level: FittedLevel, after: list[Unit], h: Tensor, context: Tensor | None) -> float:
    total = torch.zeros(len(h), dtype=h.dtype)
    for each in [level, *after]:
        h, log_det = each(h, context)
        total = total + log_det
    return (standard_normal_log_prob(h) + total).mean().item()


def without(level: FittedLevel, going: int, h: Tensor, context: Tensor | None) -> FittedLevel:
    """Returns the level with one more linear part, fitted to what its coupling does there."""
    state = h[:, : level.channels], h.new_zeros(len(h))
    for part in level.parts[:going]:
        state = part(state, context)
    made, _ = level.parts[going](state, context)
    linear = level.parts[going].linearised(state[0], made)
    return replace(level, parts=[*level.parts[:going], linear, *level.parts[going + 1 :]])


def gone(level: FittedLevel) -> list[int]:
    return [number for number, part in enumerate(level.parts) if part.linear is not None]


@pytest.mark.parametrize("count", [5, 4, 3, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_couplings_that_go_are_those_of_a_search_by_hand(count: int, seed: int) -> None:
    level, after, h, context = first_level(DEEP, seed)
    expected = level
    for _ in range(6 - count):
        left = [n for n, part in enumerate(expected.parts[:-1]) if part.linear is None]
        tried = {n: without(expected, n, h, context) for n in left}
        best = max(left, key=lambda n: likelihood(tried[n], after, h, context))
        expected = tried[best].settle(h, context)
    chosen = Choice(after, h, context)(level, count)
    assert gone(chosen) == gone(expected)
    assert likelihood(chosen, after, h, context) == pytest.approx(
        likelihood(expected, after, h, context)
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_levels_that_follow_have_their_say(seed: int) -> None:
    level, after, h, context = first_level(GLOW, seed)
    assert len(after) > 4
    costs = [
        likelihood(without(level, n, h, context), after, h, context)
        for n in range(len(level.parts) - 1)
    ]
    assert gone(Choice(after, h, context)(level, len(level.parts) - 1)) == [costs.index(max(costs))]


@pytest.mark.parametrize("number", range(5))
def test_the_log_det_of_what_follows_counts(number: int) -> None:
    level, _, h, context = first_level(DEEP, 0)
    wanted, _ = without(level, number, h, context)(h, context)

    class Prefers(Unit):
        """Changes nothing; its log_det is the largest where one coupling is gone."""

        def __call__(self, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
            return h, -1e6 * (h - wanted).square().sum(1)

    follows = Prefers("follows", Permute(range(5)), 5)
    assert gone(Choice([follows], h, context)(level, 5)) == [number]


def test_the_last_coupling_stays() -> None:
    level, after, h, context = first_level(DEEP, 0)
    for coupling in level.parts[-1].mapped.conditioner.parameters():
        coupling.zero_()  # the identity: to make it linear would cost nothing
    chosen = Choice(after, h, context)(level, 1)
    assert gone(chosen) == [0, 1, 2, 3, 4]
