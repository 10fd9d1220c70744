"""The learning rate that short trainings on data alone find best, by validation."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowkd.config import parse_config
from flowkd.distillation.objective import MaximumLikelihoodConfig
from flowkd.errors import NonFiniteError
from flowkd.store.store import Store
from flowkd.training.config import NO_DATA, TrainingConfig
from flowkd.training.find_precision import with_precision
from flowkd.training.inputs import RunData, RunInputs, Worker
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import FoundRate, ResolvedRun
from flowkd.training.run import Run
from flowkd.training.teacher_data import gather_inputs

# Where the climb begins and how far it may go, by factors of 2: Adam's range for flows.
FIRST_RATE = 0.004
LEAST_RATE, MOST_RATE = FIRST_RATE / 64, FIRST_RATE * 32
# Of a trial: enough steps to order the rates, on all data sets of docs/study.md.
LOOKING = "looking for the learning rate by short trainings on data alone"
TRIAL_SHARE, LEAST_STEPS, MOST_STEPS = 0.1, 50, 200


def with_rate(
    run: ResolvedRun,
    data: RunData,
    store: Store | None = None,
    worker: Worker | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ResolvedRun:
    """Returns a run whose learning rate, and precision, are known: as given, or else found.

    Args:
        run: What is to be trained.
        data: As `load_data` reads it.
        store: Keeps what was found, for other runs of the same flow on the same data; None: not
            kept.
        worker: Where the trials are computed; default the CPU.
        tell: Called with what is looked for, and with what was found, in words.

    Raises:
        NonFiniteError: No rate trains this flow on these data.
    """
    run = with_precision(run, store, worker, tell)
    known = known_rate(run, store)
    if known is not None:
        if known.found_rate is not None:
            tell(str(known.found_rate))
        return known
    tell(LOOKING)
    found = _find(run, data, worker or Worker())
    if store is not None:
        store.write(found.model_dump_json().encode(), *_path(run))
    tell(str(found))
    return _with(run, found)


def known_rate(run: ResolvedRun, store: Store | None) -> ResolvedRun | None:
    """Returns a run with its learning rate, as given or as found before; None if it is to find.

    None as well where the precision is to be found, which only the machine that trains can tell.
    """
    if run.config.train.precision == "auto":
        return None
    if run.config.train.learning_rate != "find":
        return run
    if store is None or not store.exists(*_path(run)):
        return None
    path = _path(run)
    known = parse_config(FoundRate, json.loads(store.read(*path)), source="/".join(path))
    return _with(run, known.model_copy(update={"shared": True}))


def _with(run: ResolvedRun, found: FoundRate) -> ResolvedRun:
    train = run.config.train.model_copy(update={"learning_rate": found.learning_rate})
    config = run.config.model_copy(update={"train": train})
    return run.model_copy(update={"config": config, "found_rate": found})


def climb(score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """Returns the best learning rate and the scores of those tried, by factors of 2 from the first.

    The optimum is that of a parabola through the best score and its neighbours, over log rates.

    Args:
        score: Less is better; infinite where it does not train.
    """
    tried = {FIRST_RATE: score(FIRST_RATE)}
    while True:
        best = min(tried, key=lambda rate: tried[rate])
        beside = [rate for rate in (2 * best, best / 2) if LEAST_RATE <= rate <= MOST_RATE]
        fresh = next((rate for rate in beside if rate not in tried), None)
        if fresh is None:
            break
        tried[fresh] = score(fresh)
    below, here, above = (tried.get(rate, math.inf) for rate in (best / 2, best, 2 * best))
    if not math.isfinite(below) or not math.isfinite(above):
        return best, tried
    curvature = below - 2 * here + above
    octaves = 0.5 * (below - above) / curvature if curvature > 0 else 0.0
    return float(f"{best * 2**octaves:.2g}"), tried


@dataclass(frozen=True)
class _Trials:
    """Short trainings of one flow on the same inputs, on data alone where there are any."""

    run: ResolvedRun
    data: RunData
    worker: Worker
    inputs: RunInputs

    def score(self, rate: float) -> float:
        """Returns bits per dimension of validation after a short training at a rate."""
        train = self.run.config.train.model_copy(update={"learning_rate": rate})
        config = self.run.config.model_copy(update={"train": train})
        run: Run = prepare_run(
            self.run.model_copy(update={"config": config}),
            self.data,
            self.worker,
            inputs=self.inputs,
        )
        try:
            for _ in run.steps():
                pass
            return run.keep_if_best(run.validation_nats())
        except NonFiniteError:
            return math.inf


def _find(run: ResolvedRun, data: RunData, worker: Worker) -> FoundRate:
    began = time.perf_counter()
    short = _short(run)
    trials = _Trials(short, data, worker, gather_inputs(short, data, worker))
    best, tried = climb(trials.score)
    if not math.isfinite(min(tried.values())):
        raise NonFiniteError(
            f"run {run.config.name!r}: learning_rate: find: expected a rate that trains; none of "
            f"{', '.join(f'{rate:g}' for rate in sorted(tried))} does: look at the data"
        )
    return FoundRate(
        learning_rate=best,
        tried={
            f"{rate:g}": bits if math.isfinite(bits) else None
            for rate, bits in sorted(tried.items())
        },
        steps=short.config.train.steps,
        seconds=round(time.perf_counter() - began, 1),
    )


def _short(run: ResolvedRun) -> ResolvedRun:
    """Returns a run like this one, short, at random and on data alone where there are any."""
    train = run.config.train
    steps = round(min(max(TRIAL_SHARE * train.steps, LEAST_STEPS), MOST_STEPS))
    changes: dict[str, Any] = {
        "train": train.model_copy(
            update={
                "steps": steps, "plateau": None, "schedule": "cosine", "warmup_steps": steps // 10,
            }
        )
    }  # fmt: skip
    whole: dict[str, Any] = {}
    if run.config.dataset != NO_DATA:
        changes["objective"] = MaximumLikelihoodConfig()
        whole = {"teacher": None, "source": None}
    config: TrainingConfig = run.config.model_copy(update=changes)
    return run.model_copy(update={"config": config, **whole})


def _path(run: ResolvedRun) -> tuple[str, str]:
    """Returns where a found rate is kept: by the digest of all that it depends on."""
    short = _short(run)
    facts = short.model_dump(mode="json", exclude={"found_rate", "found_precision", "notes"})
    facts["config"] = {
        key: value
        for key, value in facts["config"].items()
        if key not in ("name", "seed", "scaling", "checkpoint_every", "log_every", "validate_every")
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return "learning_rates", f"{digest[:20]}.json"
