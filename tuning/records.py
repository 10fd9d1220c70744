"""The records of a search in the store, from which it is resumed and reported."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import yaml

from flowkd.config import dump_config, parse_config
from flowkd.errors import ConfigError, StoreError
from flowkd.registry.pins import pin_artifact
from flowkd.store.holdings import current_folder, held_folder
from flowkd.store.lease import Token, fenced
from flowkd.store.sealed import (
    read_sealed,
    read_sealed_text,
    write_sealed,
    write_sealed_text,
)
from flowkd.store.store import Store
from tuning.config import SearchConfig

TEACHER = "teacher.json"  # of a search: the version that its reference meant when it began
TrialStatus = Literal["begun", "finished", "stopped", "failed"]
# What a trial is that was not drawn: the student without a teacher, and the default distillation.
Role = Literal["plain", "default"]


@dataclass(frozen=True)
class TrialStart:
    """What is kept of a trial before it begins.

    Attributes:
        number: From 0, in the order in which trials began.
        params: What was chosen, by name, as Optuna's `trial.params`; what had no alternative is not
            among them. Empty for a baseline that is not a point of the space.
        training: Config of its run.
        parameter_count: Number of trainable values of its student.
        throughput: log_prob a second over the teacher's; None if it was not measured.
        role: Which of the baselines it is; None for one that was drawn.
    """

    number: int
    params: dict[str, Any]
    training: dict[str, Any]
    parameter_count: int
    throughput: float | None = None
    role: Role | None = None


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        state: `finished`, trained to its end; `stopped` early; or `failed`: it diverged, or could
            not be trained.
        curve: (steps done, best bits per dimension on the validation rows so far).
        seconds: Seconds of its training alone.
        reason: Why it failed.
        time: When this was written, in seconds since 1970.
        training: Config of a run with the weights that a trial of a population had; None for all
            others, whose run is that of their start.
    """

    state: TrialStatus
    curve: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""
    time: float = field(default_factory=time.time, compare=False)
    training: dict[str, Any] | None = None

    @property
    def bits_per_dim(self) -> float:
        """The best on the validation rows; infinite if it failed."""
        return self.curve[-1][1] if self.curve and self.state != "failed" else math.inf


@dataclass(frozen=True)
class Trial:
    """A trial: its start, and its end if it has ended."""

    start: TrialStart
    end: TrialEnd | None

    @property
    def training(self) -> dict[str, Any]:
        """Config of a run that ends as the trial did."""
        return (self.end.training if self.end else None) or self.start.training

    @property
    def state(self) -> TrialStatus:
        """`begun`, or how it ended."""
        return self.end.state if self.end else "begun"

    @property
    def bits_per_dim(self) -> float:
        """The best on the validation rows; infinite if it has not ended, or failed."""
        return self.end.bits_per_dim if self.end else math.inf

    @property
    def steps(self) -> int:
        """Steps done until the last validation; 0 if it has not ended."""
        return self.end.curve[-1][0] if self.end and self.end.curve else 0


class SearchRecords:
    """The records of a search, `searches/NAME/NUMBER/`.

    Args:
        store: Holds the search.
        name: Name of the search.
        token: Number of the search's lease that its driver has, for who writes; default None, for
            who reads what counts.
    """

    def __init__(self, store: Store, name: str, token: int | None = None) -> None:
        self.store = store
        self.name = name
        place = place_of(name)
        self.token = None if token is None else Token(store, place, token)
        self.folder = held_folder(self.token) if self.token else current_folder(store, place)

    @property
    def number(self) -> int:
        """Number of the search's lease that its driver has; raises ValueError for who reads."""
        if self.token is None:
            raise ValueError(f"search {self.name!r} is only read here, it is not held")
        return self.token.number

    def check_held(self) -> None:
        """Raises FencedError if another driver has taken the search over."""
        other = self.token.successor() if self.token else None
        if self.token is not None and other is not None:
            raise fenced(self.token.place, other)

    def config(self) -> SearchConfig | None:
        """Returns the search's config, or None if there is no such search."""
        path = f"{self.folder}/config.yaml"
        if not self.store.exists(path):
            return None
        values = yaml.safe_load(read_sealed_text(self.store, path))
        return parse_config(SearchConfig, values, source=path)

    def open(self, config: SearchConfig, pinned: SearchConfig, resume: bool) -> None:
        """Begins a search, or goes on with it.

        Args:
            config: As it was given.
            pinned: As `pin` returned it.
            resume: Whether to go on with a search of this name.

        Raises:
            ConfigError: It exists already and is not to be resumed, or was another one.
        """
        self.check(config, resume)
        weights = pin_artifact(self.store, pinned.teacher).weights
        teacher = {"asked": config.teacher, "reference": pinned.teacher, "weights": weights}
        self.write(teacher, TEACHER)
        write_sealed_text(self.store, dump_config(config), self.folder, "config.yaml")

    def pin(self, config: SearchConfig) -> SearchConfig:
        """Returns a search with its teacher by version: as when it began, if it has.

        Raises:
            StoreError: No such teacher, or it was trained anew since.
        """
        kept = self.read(TEACHER)
        if kept is None or kept["asked"] != config.teacher:
            found = pin_artifact(self.store, config.teacher)
        else:
            found = pin_artifact(self.store, kept["reference"])
            if found.weights != kept["weights"]:
                raise StoreError(
                    f"{found.reference} of {self.store.uri}: expected weights of SHA-256 "
                    f"{kept['weights'][:12]}, as when search {self.name!r} began; got "
                    f"{found.weights[:12]}: it was trained anew; begin a search of another name"
                )
        return config.model_copy(update={"teacher": found.reference})

    def check(self, config: SearchConfig, resume: bool) -> None:
        """Raises ConfigError where `open` would."""
        known = self.config()
        if known is None:
            return
        if not resume:
            raise ConfigError(
                f"search {self.name!r} exists in {self.store.uri}: add --resume to go on with it, "
                f"or choose another name"
            )
        free = {"max_concurrent_trials", "scaling", "trials"}
        was, now = (each.model_dump(mode="json", exclude=free) for each in (known, config))
        changed = [key for key in now if was.get(key) != now[key]]
        if changed:
            raise ConfigError(
                f"search {self.name!r} in {self.store.uri} had another {changed[0]}: choose "
                f"another name; only {', '.join(sorted(free))} may change"
            )

    def begin(self, trial: TrialStart) -> None:
        """Writes the start of a trial."""
        self.write(asdict(trial), f"trials/{trial.number:04}.json")

    def end(self, number: int, ended: TrialEnd) -> None:
        """Writes how a trial ended."""
        self.write(asdict(ended), f"results/{number:04}.json")

    def begun(self, number: int) -> TrialStart | None:
        """Returns the start of a trial, or None if it has not begun."""
        found = self.read(f"trials/{number:04}.json")
        return None if found is None else TrialStart(**found)

    def ended(self, number: int) -> TrialEnd | None:
        """Returns how a trial ended, or None if it has not."""
        found = self.read(f"results/{number:04}.json")
        if found is None:
            return None
        return TrialEnd(**{**found, "curve": [(step, bits) for step, bits in found["curve"]]})

    def trials(self) -> list[Trial]:
        """Returns all trials, in the order in which they began."""
        done = set(self.store.list(self.folder, "results"))
        names = sorted(self.store.list(self.folder, "trials"))
        begun = [
            TrialStart(**read_sealed(self.store, self.folder, "trials", name)) for name in names
        ]
        return [
            Trial(each, self.ended(each.number) if f"{each.number:04}.json" in done else None)
            for each in begun
        ]

    def read(self, path: str) -> Any:
        """Returns a JSON file of the search, or None if it is not there."""
        if not self.store.exists(self.folder, path):
            return None
        return read_sealed(self.store, self.folder, path)

    def write(self, value: dict[str, Any], path: str) -> None:
        """Writes a JSON file of the search."""
        write_sealed(self.store, value, self.folder, path)


def place_of(name: str) -> str:
    """Returns the place that the driver of a search holds."""
    return f"searches/{name}"


def best_of(trials: list[Trial]) -> Trial | None:
    """Returns the finished trial of the fewest bits per dimension, or None."""
    finished = [trial for trial in trials if trial.state == "finished"]
    return min(finished, key=lambda trial: trial.bits_per_dim, default=None)


def ranked(trials: list[Trial]) -> list[Trial]:
    """Returns the trials that have bits per dimension, the best first; finished ones lead."""
    judged = [trial for trial in trials if math.isfinite(trial.bits_per_dim)]
    return sorted(judged, key=lambda trial: (trial.state != "finished", trial.bits_per_dim))


def search_names(store: Store) -> list[str]:
    """Returns the names of all searches."""
    return sorted(store.list("searches"))
