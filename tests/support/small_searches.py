"""Searches whose trials were drawn, but never trained: their figures are made up."""

from __future__ import annotations

import math

import optuna

from flowkd.store.store import Store
from tests.support import searches
from tuning.baselines import baselines, default_shape
from tuning.candidates import CandidateSpace
from tuning.config import SearchConfig
from tuning.records import SearchRecords, Trial, TrialEnd, TrialStart
from tuning.suggest import OptunaSuggester, grid

SPACE = {
    "shape": {"depth": [1, 2], "width": [3, 4, 6]},
    "hints": {"max_hints": 2, "normalize": [True, False]},
    "weights": {
        "nll": 1,
        "latent": {"low": 0.01, "high": 1, "optional": True, "schedules": ["constant", "cosine"]},
        "hints": {"low": 0.001, "high": 1},
    },
    "learning_rate": {"low": 0.001, "high": 0.1},
}


def small_search(name: str, **changes: object) -> SearchConfig:
    """Config of a search of the small store's teacher."""
    values = {
        "student": {"kind": "coupling", "width": 4, "context": "ignore"},
        "budget": {"parameters_share": 0.4},
        "space": SPACE,
        "train": {"steps": 100, "learning_rate": 0.01},
        "validate_every": 10,
        "trials": 60,
    }
    return searches.searching(name, **{**values, **changes})


def searched(
    store: Store, config: SearchConfig, count: int, states: str = "fffs.x", first: str = ""
) -> list[Trial]:
    """Keeps trials in a store and returns what is read back.

    Args:
        store: Of `furnish`.
        config: Of the search.
        count: How many trials.
        states: Of the first ones, and so on again: finished, stopped, failed (x), not ended (.).
        first: Of the baselines that come before them; default none.
    """
    records, candidates = SearchRecords(store, config.name), CandidateSpace(config, store)
    records.open(config, records.pin(config), resume=False)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = iter(grid(candidates.draw, 10_000) if config.algorithm == "grid" else [])
    _first(candidates, records, first)
    for number in range(len(first), len(first) + count):
        trial = optuna.trial.FixedTrial(next(points)) if config.algorithm == "grid" else study.ask()
        candidate = candidates.draw(OptunaSuggester(trial), f"search-{config.name}-{number:04}")
        training = candidate.training.model_dump(mode="json")
        rate = candidate.shape.throughput
        records.begin(
            TrialStart(
                number,
                dict(trial.params),
                training,
                candidate.shape.parameters,
                rate if math.isfinite(rate) else None,
            )
        )
        state = states[number % len(states)]
        if state != ".":
            records.end(number, _ended(state, trial.params, number))
    return records.trials()


def _first(candidates: CandidateSpace, records: SearchRecords, states: str) -> None:
    found = baselines(candidates, default_shape(candidates), records, lambda run: 0.03)
    for number, (state, each) in enumerate(zip(states, found, strict=False)):
        training = each.candidate.training.model_dump(mode="json")
        size = each.candidate.shape.parameters
        records.begin(TrialStart(number, each.params or {}, training, size, None, each.role))
        if state != ".":
            rate = {"learning_rate": (0.08, 0.03)[number]}
            records.end(number, _ended(state, rate, number))


def _ended(state: str, parameters: dict, number: int) -> TrialEnd:
    bits = made_up(parameters)
    curve = [(step, bits + 1 / step) for step in range(10, 101, 10)]
    if state == "x":
        return TrialEnd("failed", curve[: number % 2], 0.5, f"step {number}: the loss is nan")
    return (
        TrialEnd("finished", curve, 4.5) if state == "f" else TrialEnd("stopped", curve[:2], 1.25)
    )


def made_up(parameters: dict) -> float:
    """Bits per dimension that the learning rate alone decides."""
    return 2.0 + abs(math.log10(parameters.get("learning_rate", 0.01) / 0.02))
