"""A study's results in the store, from which its report is made wherever the store is reached."""

from __future__ import annotations

import yaml

from flowkd.config import parse_config
from flowkd.errors import ConfigError
from flowkd.store.sealed import read_sealed, write_sealed
from flowkd.store.store import Store
from jobs.studies.results import Results

RESULTS = "results.json"


def keep_results(results: Results, store: Store) -> None:
    """Writes the results of each study beside its config, `studies/NAME/results.json`."""
    for study in results.studies:
        own = results.model_copy(
            update={
                "studies": [study],
                "runs": [row for row in results.runs if row.study == study.name],
                "summary": [row for row in results.summary if row.study == study.name],
            }
        )
        write_sealed(store, own.model_dump(mode="json"), "studies", study.name, RESULTS)


def read_results(store: Store, name: str) -> Results:
    """Returns the results of a study, as its last call measured them.

    Raises:
        ConfigError: No such study, or none that was measured; the message says what to do.
    """
    path = ("studies", name, RESULTS)
    if not store.exists(*path):
        known = study_names(store)
        if name in known:
            raise ConfigError(
                f"study {name!r} in {store.uri} has no results yet: `python -m jobs.study --config "
                f"FILE --no-train` measures what there is"
            )
        raise ConfigError(f"no study {name!r} in {store.uri}; there are {_listed(known)}")
    return parse_config(Results, read_sealed(store, *path), source="/".join(path))


def study_config(store: Store, name: str) -> str:
    """Returns a study's config as YAML; empty if it is not there."""
    path = ("studies", name, "config.yaml")
    if not store.exists(*path):
        return ""
    values = yaml.safe_load(store.read(*path))
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def study_names(store: Store) -> list[str]:
    """Returns the names of all studies."""
    names = store.list("studies")
    return sorted(name for name in names if store.exists("studies", name, "config.yaml"))


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
