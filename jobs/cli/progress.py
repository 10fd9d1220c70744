"""Progress of a run, read from its metrics in the store; plain lines without a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from cluster.storage import StorageConfig
from cluster.train.start import train_run
from flowkd.distillation.schedules import LossWeights
from flowkd.errors import FlowkdError
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.growth import growth_note
from flowkd.training.logs.follow import LogFollower
from flowkd.training.logs.metrics import read_log
from flowkd.training.outcome import summary_of
from jobs.cli.console import PlainConsole
from jobs.cli.interrupted import tells_what_is_kept

console = PlainConsole()
POLL_SECONDS = 1.0
LINE_SECONDS = 15.0


def train_with_progress(config: TrainingConfig, storage: StorageConfig) -> str:
    """Trains a run while showing how far it is; returns the reference of its result."""
    note = growth_note(config, storage.store())
    if note:
        console.print(f"  {note}", markup=False)
    finished = threading.Event()
    show = _show_bar if console.is_terminal else _show_lines
    watcher = threading.Thread(target=show, args=(config, storage.store(), finished), daemon=True)
    watcher.start()

    def tell(sentence: str) -> None:
        console.print(f"  {config.name}: {sentence}", markup=False)

    try:
        with tells_what_is_kept(storage.store(), config.name):
            reference = train_run(config, storage, tell)
    finally:
        finished.set()
        watcher.join()
    for sentence in summary_of(read_log(storage.store(), config.name)):
        tell(sentence)
    return reference


def stage(title: str) -> None:
    """Announces a stage."""
    console.print(title, style="bold")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows that something of unknown length is going on, and how long it took."""
    began = time.monotonic()
    with console.status(Text(what)) if console.is_terminal else nullcontext():
        yield
    console.print(f"  {what}: {time.monotonic() - began:.1f} s")


def _show_bar(config: TrainingConfig, store: Store, finished: threading.Event) -> None:
    columns = (
        TextColumn("  {task.description:<22}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        # Without a total there is no remaining time, and the bar tells only that it goes on.
        task = bar.add_task(config.name, total=_end_of(config, {}), figures="starting")

        def show(latest: dict[str, Any], figures: str) -> None:
            told = f"{steps_of(config, latest)}  {figures}"
            end = _end_of(config, latest)
            bar.update(task, completed=latest["step"], total=end, figures=told)

        _follow(config, store, finished, POLL_SECONDS, show)


def _show_lines(config: TrainingConfig, store: Store, finished: threading.Event) -> None:
    def show(latest: dict[str, Any], figures: str) -> None:
        console.print(f"  {config.name}: step {steps_of(config, latest)}  {figures}")

    _follow(config, store, finished, LINE_SECONDS, show)


def steps_of(config: TrainingConfig, latest: dict[str, Any]) -> str:
    """Returns how many steps are done, and of how many, as far as that is known.

    Args:
        config: Of the run.
        latest: The latest of each of its metrics.
    """
    end = _end_of(config, latest)
    if end is not None:
        return f"{latest['step']:,} of {end:,}"
    if "ends_no_earlier" in latest:
        return f"{latest['step']:,} of at least {latest['ends_no_earlier']:,}"
    return f"{latest['step']:,} of at most {config.train.steps:,}"


def _end_of(config: TrainingConfig, latest: dict[str, Any]) -> int | None:
    """Returns the steps at a run's end; None where validation has not said it yet."""
    return config.train.steps if config.train.plateau is None else latest.get("ends_at")


def _follow(
    config: TrainingConfig,
    store: Store,
    finished: threading.Event,
    every: float,
    show: Callable[[dict[str, Any], str], None],
) -> None:
    shown, last = 0, 0.0
    latest: dict[str, Any] = {"step": 0}
    follower = LogFollower(store, config.name)
    while True:
        ending = finished.wait(POLL_SECONDS)
        try:
            for record in follower.new_records():
                latest |= record
        except FlowkdError as error:  # of the display alone: the training says what becomes of it
            show(latest, str(error))
            return
        if latest["step"] != shown and (ending or time.monotonic() - last >= every):
            show(latest, figures_of(latest))
            shown, last = latest["step"], time.monotonic()
        if ending:
            return


def figures_of(latest: dict[str, Any]) -> str:
    """Returns the loss, each of its terms, and the last validation, as far as they are known.

    >>> figures_of({"step": 3, "loss": 1.5, "density": 0.25, "validation_bits_per_dim": 2.0})
    'loss 1.5000  density 0.2500  validation 2.000 bits/dim'
    """
    terms = [name for name in ("loss", *LossWeights.model_fields) if name in latest]
    figures = [f"{name} {latest[name]:.4f}" for name in terms]
    if "validation_bits_per_dim" in latest:
        figures.append(f"validation {latest['validation_bits_per_dim']:.3f} bits/dim")
    return "  ".join(figures)
