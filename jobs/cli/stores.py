"""`flowkd store`: the store itself."""

from __future__ import annotations

from cluster.storage import check
from flowkd.store.locks import creates_are_atomic
from jobs.cli.console import Json, StoreUri, opened_store, say_facts
from jobs.cli.lazy import example, group

stores = group("The store itself.", "flowkd store check --store s3://bucket/prefix")


@stores.command("check", epilog=example("flowkd store check --store s3://bucket/prefix"))
def check_store(store: StoreUri = None, as_json: Json = False) -> None:
    """Write, read and remove a small object, and tell whether conditional writes are atomic."""
    with opened_store(store, "write") as opened:
        check(opened)
        atomic = creates_are_atomic(opened)
        facts = {
            "store": str(opened),
            "conditional_writes": "atomic" if atomic else "not atomic",
            "aliases": "compare-and-swap" if atomic else "one writer at a time, under a lock",
            "leases": "created once" if atomic else "created once, under a lock",
        }
        say_facts(facts, as_json)
