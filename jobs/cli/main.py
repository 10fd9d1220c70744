"""The command `flowkd`: what a store holds, checked, pointed at and removed."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.queue.records import QueueRecords
from cluster.storage import check
from flowkd.errors import StoreError
from flowkd.flows.build import count_parameters
from flowkd.registry.aliases import alias_history, set_alias
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.catalog import damaged_aliases, find_damage, model_versions
from flowkd.registry.removal import remove_version
from flowkd.store.locks import creates_are_atomic
from flowkd.training.removal import remove_runs
from flowkd.training.runs import prune_checkpoints, run_state, run_states
from jobs.cli.boundary import Group
from jobs.cli.cluster import add_cluster
from jobs.cli.config import config
from jobs.cli.console import Json, StoreUri, end_with_damage, opened_store, say, say_facts
from jobs.cli.data import data
from jobs.cli.queue import add_queue
from jobs.cli.report import report_command
from jobs.cli.search import app as searches
from jobs.cli.workflow import add_workflow
from jobs.queue_checks import jobs_of

Reference = Annotated[str, typer.Argument(help="models/NAME@VERSION_OR_ALIAS or runs/RUN.")]

app = typer.Typer(
    cls=Group, add_completion=False, no_args_is_help=True, help="Jobs, and what a store holds."
)
models = typer.Typer(no_args_is_help=True, help="Published models.")
runs = typer.Typer(no_args_is_help=True, help="Trainings.")
app.add_typer(models, name="models")
stores = typer.Typer(no_args_is_help=True, help="The store itself.")
app.add_typer(runs, name="runs")
app.add_typer(data, name="data")
app.add_typer(config, name="config")
app.add_typer(stores, name="store")
app.add_typer(searches, name="search")
add_workflow(app)
app.command("report")(report_command)
add_queue(app)
add_cluster(app)


@models.command("list")
def list_models(store: StoreUri = None, as_json: Json = False) -> None:
    """List all versions of all models; exit with 1 if one, or an alias, cannot be read."""
    with opened_store(store) as opened:
        found = [version.model_dump() for version in model_versions(opened)]
        damage = {f"models/{each['model']}@{each['version']}": each["damage"] for each in found}
        aliases = damaged_aliases(opened)
        if as_json:
            found += [
                {"model": name.split("@")[0].removeprefix("models/"), "version": None,
                 "aliases": [name.split("@")[1]], "created": None, "bytes": None, "damage": reason}
                for name, reason in aliases.items()
            ]  # fmt: skip
        say(found, as_json, ["model", "version", "aliases", "created", "bytes"])
        end_with_damage({**damage, **aliases}, as_json)


@models.command("show")
def show_model(reference: Reference, store: StoreUri = None, as_json: Json = False) -> None:
    """Show what an artifact is, how good, and what it was made from."""
    with opened_store(store) as opened:
        artifact = load_artifact(opened, reference)
        manifest = artifact.manifest
        facts = {
            "reference": reference,
            "version": artifact.version,
            "created": manifest.created,
            "parameters": count_parameters(artifact.flow),
            "data": manifest.data.model_dump(exclude_defaults=True),
            "flow": artifact.config.flow.model_dump(mode="json", exclude_defaults=True),
            "metrics": artifact.metrics,
            "lineage": manifest.lineage.model_dump(exclude_none=True),
            **({"remarks": manifest.remarks} if manifest.remarks else {}),
        }
        say_facts(facts, as_json)


@models.command("verify")
def verify_models(
    references: Annotated[list[str] | None, typer.Argument(help="Default: all versions.")] = None,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Read all parts again and compare them with their manifests; exit with 1 if one differs."""
    with opened_store(store) as opened:
        asked = references or [
            *(version.reference for version in model_versions(opened)),
            *damaged_aliases(opened),
        ]
        found = [{"reference": each, "damage": find_damage(opened, each)} for each in asked]
        say([{**each, "damage": each["damage"] or "none"} for each in found], as_json)
        if any(each["damage"] for each in found):
            raise typer.Exit(1)


@models.command("alias")
def move_alias(
    name: str,
    alias: str,
    version: Annotated[
        str | None, typer.Argument(help="Default: tell where it has pointed, the last move last.")
    ] = None,
    expect: Annotated[
        str | None, typer.Option(help="Move it only if it points at this version.")
    ] = None,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Point an alias of a model at one of its versions, or tell where it has pointed."""
    with opened_store(store) as opened:
        if version is None:
            moves, damage = alias_history(opened, name, alias)
            told = [move.model_dump() for move in moves]
            say(told, as_json, ["number", "version", "time"])
            end_with_damage({f"a move of models/{name}@{alias}": each for each in damage}, as_json)
            return
        set_alias(opened, name, alias, version, expect)
        print(f"models/{name}@{alias} is {version}")


@models.command("remove")
def remove_model(reference: Reference, store: StoreUri = None) -> None:
    """Remove a version to which no alias points and which taught no other artifact."""
    with opened_store(store) as opened:
        kind, _, rest = reference.partition("/")
        name, _, version = rest.partition("@")
        if kind != "models" or not version:
            raise StoreError(f"expected models/NAME@VERSION; got {reference!r}")
        remove_version(opened, name, version)
        print(f"removed {reference}")


@runs.command("list")
def list_runs(store: StoreUri = None, as_json: Json = False) -> None:
    """List all runs with how far they came; exit with 1 if records of one cannot be read."""
    with opened_store(store) as opened:
        found = [state.model_dump() for state in run_states(opened)]
        damage = {f"runs/{each['run']}": each["damage"] for each in found}
        if not as_json:
            found = [{**each, "checkpoints": len(each["checkpoints"])} for each in found]
        say(found, as_json, ["run", "state", "step", "validation_bits_per_dim", "checkpoints"])
        end_with_damage(damage, as_json)


@runs.command("show")
def show_run(run: str, store: StoreUri = None, as_json: Json = False) -> None:
    """Show how far a run came."""
    with opened_store(store) as opened:
        say_facts(run_state(opened, run).model_dump(), as_json)


@runs.command("remove")
def remove_run(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of runs.")],
    force: Annotated[
        bool, typer.Option(help="Also where it looks alive, or only lineages lead to it.")
    ] = False,
    store: StoreUri = None,
) -> None:
    """Remove runs with all that they have in the store, unless something needs them."""
    with opened_store(store) as opened:
        records = QueueRecords(opened)
        remove_runs(opened, names, force=force, jobs={run: jobs_of(run, records) for run in names})
        for run in dict.fromkeys(names):
            print(f"removed runs/{run}")


@runs.command("prune")
def prune_runs(
    run: Annotated[str | None, typer.Argument(help="Default: all runs.")] = None,
    keep: Annotated[int, typer.Option(help="Checkpoints of each run that stay.")] = 1,
    dry_run: Annotated[bool, typer.Option(help="Only tell.")] = False,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Remove all but the last checkpoints; results, metrics and lineages stay."""
    with opened_store(store) as opened:
        gone = prune_checkpoints(opened, keep, run, dry_run=dry_run)
        say([{"removed" if not dry_run else "would remove": each} for each in gone], as_json)


@stores.command("check")
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


if __name__ == "__main__":
    app()
