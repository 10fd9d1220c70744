"""How far a job is, by the metrics of its training or the status of its search."""

from __future__ import annotations

from cluster.queue.spec import JobSpec
from flowkd.store.holdings import current_folder
from flowkd.store.store import Store
from flowkd.training.logs.metrics import last_record


def progress_of(store: Store, spec: JobSpec) -> str:
    """Returns how many steps of a training, or trials of a search, are done; else nothing.

    Raises:
        StoreError: The store cannot be read.
    """
    if spec.kind == "search":
        return _of_search(store, str(spec.config.get("name")))
    train, name = spec.config.get("train"), spec.config.get("name")
    if not isinstance(train, dict) or not isinstance(name, str):
        return ""
    try:
        record = last_record(store, name) or {"step": 0}
        most = train.get("steps")
        if train.get("plateau"):
            most = f"at most {most}"
        if "ends_no_earlier" in record:
            most = f"at least {record['ends_no_earlier']}"
        return f"{record['step']} of {record.get('ends_at', most)}"
    except (ValueError, KeyError):  # what is there is no log of ours
        return ""


def _of_search(store: Store, name: str) -> str:
    folder = current_folder(store, f"searches/{name}")
    if not store.exists(folder, "status.json"):
        return ""
    status = store.read_json(folder, "status.json")
    ended = sum(row["state"] != "running" for row in status["rows"])
    done = f"{ended} of {status['trials']} trials"
    return done if status["stage"] == "searching" else status["stage"]
