"""How far a job is, as its metrics tell."""

from __future__ import annotations

from cluster.queue.job import JobSpec
from flowkd.run_log import last_record
from flowkd.store import Store


def progress_of(store: Store, spec: JobSpec) -> str:
    """Returns how many of its steps a training has done; nothing for a job of another kind.

    Raises:
        StoreError: The store cannot be read.
    """
    train, name = spec.config.get("train"), spec.config.get("name")
    if not isinstance(train, dict) or not isinstance(name, str):
        return ""
    try:
        record = last_record(store, name)
        return f"{record['step'] if record else 0} of {train.get('steps')}"
    except (ValueError, KeyError):  # what is there is no log of ours
        return ""
