"""Progress of a run, read from its metrics in the store; plain lines without a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.storage import StorageConfig
from cluster.train.launch import run_training
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.metrics_log import read_log
from flowkd.training.outcome import summary_of

console = Console(highlight=False, soft_wrap=True)
POLL_SECONDS = 1.0
LINE_SECONDS = 15.0


def train_with_progress(config: TrainingConfig, storage: StorageConfig) -> str:
    """Trains a run while showing how far it is; returns the reference of its result."""
    finished = threading.Event()
    show = _show_bar if console.is_terminal else _show_lines
    watcher = threading.Thread(target=show, args=(config, storage.store(), finished), daemon=True)
    watcher.start()
    try:
        reference = run_training(config, storage)
    finally:
        finished.set()
        watcher.join()
    for sentence in summary_of(read_log(storage.store(), config.name)):
        console.print(f"  {config.name}: {sentence}", markup=False)
    return reference


def stage(title: str) -> None:
    """Announces a stage."""
    console.print(f"[bold]{title}[/bold]")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows that something of unknown length is going on, and how long it took."""
    began = time.monotonic()
    with console.status(what) if console.is_terminal else nullcontext():
        yield
    console.print(f"  {what}: {time.monotonic() - began:.1f} s")


def _show_bar(config: TrainingConfig, store: Store, finished: threading.Event) -> None:
    columns = (
        TextColumn("  {task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(config.name, total=config.train.steps, figures="starting workers")

        def show(step: int, figures: str) -> None:
            bar.update(task, completed=step, figures=figures)

        _follow(config, store, finished, POLL_SECONDS, show)


def _show_lines(config: TrainingConfig, store: Store, finished: threading.Event) -> None:
    def show(step: int, figures: str) -> None:
        console.print(f"  {config.name}: step {step} of {config.train.steps}  {figures}")

    _follow(config, store, finished, LINE_SECONDS, show)


def _follow(
    config: TrainingConfig,
    store: Store,
    finished: threading.Event,
    every: float,
    show: Callable[[int, str], None],
) -> None:
    shown, last = -1, 0.0
    while True:
        ending = finished.wait(POLL_SECONDS)
        records = read_log(store, config.name)
        step = records[-1]["step"] if records else 0
        if step > max(shown, 0) and (ending or time.monotonic() - last >= every):
            show(step, _figures(records))
            shown, last = step, time.monotonic()
        if ending:
            return


def _figures(records: list[dict[str, Any]]) -> str:
    terms = {"loss", "nll", "latent", "hints", "synthesis"}
    latest: dict[str, Any] = next((record for record in reversed(records) if "loss" in record), {})
    figures = [f"{name} {value:.4f}" for name, value in latest.items() if name in terms]
    validated = [r["validation_bits_per_dim"] for r in records if "validation_bits_per_dim" in r]
    if validated:
        figures.append(f"validation {validated[-1]:.3f} bits/dim")
    return "  ".join(figures)
