"""The learning rate that short trainings on data alone find best, by validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from flowkd.errors import NonFiniteError
from flowkd.store.choices import Choices
from flowkd.store.store import Store
from flowkd.training.choices.climb import climb
from flowkd.training.choices.precision import with_precision
from flowkd.training.choices.trials import Trials, short_run, varied
from flowkd.training.inputs import RunData, Worker
from flowkd.training.resolved import FoundRate, ResolvedRun
from flowkd.training.teacher_data import gather_inputs

LOOKING = "looking for the learning rate by short trainings on data alone"
NO_MATTER = ("name", "seed", "scaling", "tracking", "checkpoint_every", "log_every")


def with_rate(
    run: ResolvedRun,
    data: RunData,
    store: Store | None = None,
    worker: Worker | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ResolvedRun:
    """Returns a run whose learning rate is known, and how it computes: as given, or else found.

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
    found = _choices(run, store).found(lambda: _find(run, data, worker or Worker()))
    tell(str(found))
    return _with(run, found)


def known_rate(run: ResolvedRun, store: Store | None) -> ResolvedRun | None:
    """Returns a run with its learning rate, as given or as found before; None if it is to find.

    None as well where the precision is to be found, or whether to compile, which only the machine
    that trains can tell.
    """
    if "auto" in (run.config.train.precision, run.config.train.compile):
        return None
    if run.config.train.learning_rate != "find":
        return run
    known = _choices(run, store).known()
    return None if known is None else _with(run, known)


def _with(run: ResolvedRun, found: FoundRate) -> ResolvedRun:
    return varied(run, found.learning_rate, found.weight_decay, found.flow).model_copy(
        update={"found_rate": found}
    )


def _find(run: ResolvedRun, data: RunData, worker: Worker) -> FoundRate:
    began = time.perf_counter()
    short = short_run(run)
    trials = Trials(short, data, worker, gather_inputs(short, data, worker))
    best, tried = climb(trials.score)
    known = min(tried.values())
    if not math.isfinite(known):
        raise NonFiniteError(
            f"run {run.config.name!r}: learning_rate: find: expected a rate that trains; none of "
            f"{', '.join(f'{rate:g}' for rate in sorted(tried))} does: look at the data"
        )
    decay, flow = trials.regularised(best, known)
    return FoundRate(
        learning_rate=best,
        tried={
            f"{rate:g}": bits if math.isfinite(bits) else None
            for rate, bits in sorted(tried.items())
        },
        steps=short.config.train.steps,
        seconds=round(time.perf_counter() - began, 1),
        weight_decay=decay,
        flow=flow,
        others=trials.others,
    )


def _choices(run: ResolvedRun, store: Store | None) -> Choices[FoundRate]:
    short = short_run(run)
    facts = short.model_dump(mode="json", exclude={"found_rate", "found_precision", "notes"})
    facts["config"] = {key: value for key, value in facts["config"].items() if key not in NO_MATTER}
    return Choices(store, "learning_rates", facts, FoundRate)
