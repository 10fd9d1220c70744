"""The importance of each parameter: how much it decided whether a trial was among the best."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from flowkd.data.seeds import derive_seed
from tuning.report.axes import Axis

FEWEST = 12  # trials that chose a parameter
BEST = 0.25  # the share of the trials that counts as the best
SHUFFLES, BY_CHANCE = 20, 0.9  # number of shuffles, and the quantile that is drawn


class Importance(NamedTuple):
    """The importance of one parameter.

    Attributes:
        name: Name of the parameter.
        share: Its divergence as a share of the sum over all parameters.
        chance: The share that 9 of 10 shuffles of the trials' bits per dimension stay below.
        trials: Number of trials that it rests on.
    """

    name: str
    share: float
    chance: float
    trials: int


def importances(axes: Sequence[Axis], bits: Sequence[float]) -> list[Importance]:
    """Returns how important each parameter was, the most important first.

    A parameter is important if the best quarter of the trials chose other values of it than all
    did: the Pearson divergence of the two densities. One that not all trials have is judged by
    those that have it. Parameters that fewer than FEWEST trials have, or that were always chosen
    alike, are left out.

    Source: Watanabe, Bansal and Hutter, PED-ANOVA, 2023, https://arxiv.org/abs/2304.10255.

    Args:
        axes: The parameters.
        bits: Bits per dimension of each trial; those not finite are left out.
    """
    finite = {place for place, value in enumerate(bits) if math.isfinite(value)}
    found = []
    for axis in axes:
        places = [place for place in axis.known if place in finite]
        values = [axis.values[place] for place in places]
        if len(places) >= FEWEST and len(set(values)) > 1:
            study = _study(axis, places, bits)
            found.append((axis.name, *_divergences(axis, study), len(places)))
    total = sum(divergence for _, divergence, _, _ in found)
    if not total:
        return []
    shares = [Importance(name, d / total, chance / total, n) for name, d, chance, n in found]
    return sorted(shares, key=lambda each: (-each.share, each.name))


def _study(axis: Axis, places: Sequence[int], bits: Sequence[float]) -> optuna.Study:
    distribution = _distribution(axis)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    optuna.logging.set_verbosity(verbosity)
    for place in places:
        value = axis.values[place]
        study.add_trial(
            optuna.create_trial(
                value=bits[place],
                params={axis.name: value if axis.bounds else str(value)},
                distributions={axis.name: distribution},
            )
        )
    return study


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.bounds is None:
        return CategoricalDistribution(axis.categories)
    return FloatDistribution(*axis.bounds, log=axis.log)


def _divergences(axis: Axis, study: optuna.Study) -> tuple[float, float]:
    """Returns a parameter's divergence, and the one that it rarely exceeds by chance."""
    values = [trial.value or 0.0 for trial in study.trials]
    generator = np.random.default_rng(derive_seed(0, f"importance of {axis.name}"))
    shuffled = [
        _divergence(axis, study, list(generator.permutation(values))) for _ in range(SHUFFLES)
    ]
    return _divergence(axis, study, values), float(np.quantile(shuffled, BY_CHANCE))


def _divergence(axis: Axis, study: optuna.Study, values: Sequence[float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a target of one's own, and of being experimental
        found = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=BEST),
            params=[axis.name],
            target=lambda trial: values[trial.number],
            normalize=False,
        )
    return found[axis.name]
