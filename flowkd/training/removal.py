"""A run removed with all that it has in the store, unless something needs it.

A run that is being removed says so first, and loses its result before anything else: what a crash
leaves is neither taken for a run nor for a result, and is removed by the same command.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import yaml

from flowkd.errors import FlowkdError, StoreError
from flowkd.registry.artifact_manifest import ArtifactManifest, read_artifact_manifest, versions
from flowkd.store.holdings import current_folder
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import REMOVING
from flowkd.training.growth import unfinished_learners
from flowkd.training.logs.metrics import last_record
from flowkd.training.runs import run_state

LIVELY_SECONDS = 300.0  # an unfinished run that has written metrics since may be alive


def remove_runs(
    store: Store,
    runs: Sequence[str],
    *,
    force: bool = False,
    jobs: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Removes runs: checkpoints, metrics, configs and results; all of them, or none.

    Args:
        store: Where they are.
        runs: Their names.
        force: Removes them, too, where only the lineage of others leads to them, or where they
            look alive and have no job: what was made of them stays whole.
        jobs: Names of the jobs, not ended, that make or need each run; default none.

    Raises:
        StoreError: No such run; it is in use, or something depends on it.
    """
    found = {run: run_state(store, run).state for run in dict.fromkeys(runs)}
    for run, state in found.items():
        if state != "removing":
            _check_free(store, run, set(found), force, (jobs or {}).get(run, ()))
    for run in found:
        store.write_json({"time": time.time()}, "runs", run, REMOVING)
    for run in found:
        _remove(store, run)


def _check_free(
    store: Store, run: str, going: set[str], force: bool, jobs: Collection[str]
) -> None:
    if jobs:
        raise StoreError(
            f"run {run!r} is what {_listed(jobs)} of the queue makes or needs: let that end, or "
            f"`flowkd cancel` it first"
        )
    needed = [f"run {name!r}" for name in unfinished_learners(store, run) if name not in going]
    needed += [f"search {name!r}" for name in _unfinished_searches(store, run)]
    if needed:
        raise StoreError(
            f"run {run!r} is what {_listed(needed)}, not finished, learns from: let that end, or "
            f"remove it first"
        )
    if force:
        return
    written = _lively(store, run)
    if written is not None:
        raise StoreError(
            f"run {run!r} is not finished and has written metrics {written:.0f} s ago: stop it "
            f"first; --force removes it if it has ended"
        )
    made = [
        reference
        for reference, manifest in _artifacts(store, going)
        if manifest.lineage.run == run or manifest.lineage.teacher == f"runs/{run}"
    ]
    if made:
        raise StoreError(
            f"run {run!r} is in the lineage of {_listed(made)}: --force removes it all the same; "
            f"they stay whole, but nobody can look up any more what they were made from"
        )


def _remove(store: Store, run: str) -> None:
    store.remove("runs", run, "result", "manifest.json")
    for name in store.list("runs", run):
        if name != REMOVING:
            store.remove("runs", run, name)
    store.remove("runs", run)


def _lively(store: Store, run: str) -> float | None:
    """Returns how many seconds ago an unfinished run has written metrics, if it may be alive."""
    try:
        record = last_record(store, run)
    except FlowkdError:  # damaged: one more reason to remove it
        return None
    if run_state(store, run).state != "unfinished" or record is None or "time" not in record:
        return None
    ago = max(0.0, time.time() - float(record["time"]))
    return ago if ago < LIVELY_SECONDS else None


def _artifacts(store: Store, going: set[str]) -> Iterator[tuple[str, ArtifactManifest]]:
    """Yields reference and manifest of all artifacts that stay and can be read."""
    folders = {
        f"models/{model}@{version}": f"models/{model}/{version}"
        for model in store.list("models")
        for version in versions(store, model)
    }
    folders |= {
        f"runs/{run}": f"runs/{run}/result"
        for run in store.list("runs")
        if run not in going and store.exists("runs", run, "result", "manifest.json")
    }
    for reference, folder in folders.items():
        try:
            yield reference, read_artifact_manifest(store, folder)
        except FlowkdError:
            continue


def _unfinished_searches(store: Store, run: str) -> list[str]:
    found = []
    for name in store.list("searches"):
        folder = current_folder(store, f"searches/{name}")
        path = (folder, "config.yaml")
        if store.exists(folder, "outcome.json") or not store.exists(*path):
            continue
        values: Any = yaml.safe_load(store.read(*path))
        if isinstance(values, dict) and values.get("teacher") == f"runs/{run}":
            found.append(name)
    return found


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))
