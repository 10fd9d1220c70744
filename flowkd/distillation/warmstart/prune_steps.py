"""Which couplings of a level go: those whose linear fits cost the least likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowkd.distillation.warmstart.layout import Unit
from flowkd.distillation.warmstart.steps import FittedLevel, FittedStep, RunningState, settle
from flowkd.flows.flow import standard_normal_log_prob

TRIALS = 5


@dataclass(frozen=True)
class Choice:
    """Chooses among a level's couplings by the likelihood of calibration data.

    Attributes:
        after: All that follows the level.
        h: What the level sees, and the channels that pass it by.
        context: Encoded context of the calibration data, (B, width); None for none.
    """

    after: Sequence[Unit | FittedLevel]
    h: Tensor
    context: Tensor | None

    def __call__(self, level: FittedLevel, count: int) -> FittedLevel:
        """Returns the level with all but `count` parts linear: greedily, one by one.

        A coupling's cost changes as others go. After the first round it is found anew for those
        alone that were the cheapest when last tried: K + TRIALS (K - count) trials, not K^2 / 2.
        """
        passing = self.h[:, level.channels :]
        start = self.h[:, : level.channels], self.h.new_zeros(len(self.h))
        parts, states = settle(level.parts, start, self.context)
        # The last coupling stays: nothing after it could take up a linear fit.
        costs = dict.fromkeys(range(len(parts) - 1), -math.inf)
        trials = len(costs)
        for _ in range(len(parts) - count):
            best = self._likelihood(states[-1], passing)
            for number in sorted(costs, key=costs.__getitem__)[:trials]:
                state = states[number]
                for part in _without_first(parts[number:], states[number:]):
                    state = part(state, self.context)
                costs[number] = best - self._likelihood(state, passing)
            trials = TRIALS
            going = min(costs, key=costs.__getitem__)
            del costs[going]
            rest = _without_first(parts[going:], states[going:])
            rest, after = settle(rest, states[going], self.context)
            parts, states = [*parts[:going], *rest], [*states[:going], *after]
        return replace(level, parts=parts)

    def _likelihood(self, end: RunningState, passing: Tensor) -> float:
        """Returns the mean log-density in nats, but for what precedes the level."""
        h, log_det = end
        h = torch.cat([h, passing], dim=1)
        for unit in self.after:
            h, more = unit(h, self.context)
            log_det = log_det + more
        value = (standard_normal_log_prob(h) + log_det).mean().item()
        return value if math.isfinite(value) else -math.inf


def _without_first(parts: Sequence[FittedStep], states: Sequence[RunningState]) -> list[FittedStep]:
    """Returns consecutive parts, the first one linear."""
    (h, _), (y, _) = states[:2]
    return [parts[0].linearised(h, y), *parts[1:]]
