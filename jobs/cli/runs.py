"""`flowkd runs`: trainings, listed, shown, pruned and removed."""

from __future__ import annotations

from textwrap import indent
from typing import Annotated

import typer
import yaml

from flowkd.text import visible
from jobs.cli.console import Json, StoreUri, done, end_with_damage, opened_store, say, say_facts
from jobs.cli.lazy import example, group

runs = group("Trainings.", "flowkd runs list")


@runs.command("list", epilog=example("flowkd runs list"))
def list_runs(store: StoreUri = None, as_json: Json = False) -> None:
    """List all runs with how far they came; exit with 1 if records of one cannot be read."""
    from flowkd.training.runs import run_states

    with opened_store(store) as opened:
        found = [state.model_dump() for state in run_states(opened)]
        damage = {f"runs/{each['run']}": each["damage"] for each in found}
        if not as_json:
            found = [{**each, "checkpoints": len(each["checkpoints"])} for each in found]
        say(found, as_json, ["run", "state", "step", "validation_bits_per_dim", "checkpoints"])
        end_with_damage(damage, as_json)


@runs.command("show", epilog=example("flowkd runs show teacher"))
def show_run(run: str, store: StoreUri = None, as_json: Json = False) -> None:
    """Show how far a run came, its curves, and the config that it was begun with."""
    from flowkd.training.logs.metrics import read_log
    from flowkd.training.runs import run_config, run_state
    from jobs.cli.curves import curves_of

    with opened_store(store) as opened:
        state = run_state(opened, run)
        config = run_config(opened, run)
        if as_json:
            say_facts({**state.model_dump(), "config": config}, True)
            return
        facts = state.model_dump(exclude_none=True)
        say_facts({**facts, "checkpoints": len(state.checkpoints)}, False)
        curves = curves_of(read_log(opened, run)) if state.damage is None else []
        if curves:
            print()
            say(curves, False)
        if config is not None:
            print("\nconfig:")
            print(visible(indent(yaml.safe_dump(config, sort_keys=False), "  ")), end="")


@runs.command("remove", epilog=example("flowkd runs remove teacher"))
def remove_run(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of runs.")],
    force: Annotated[
        bool, typer.Option(help="Also where it looks alive, or only lineages lead to it.")
    ] = False,
    store: StoreUri = None,
) -> None:
    """Remove runs with all that they have in the store, unless something needs them."""
    from cluster.queue.records import QueueRecords
    from flowkd.training.removal import remove_runs
    from jobs.queue_checks import jobs_of

    with opened_store(store) as opened:
        records = QueueRecords(opened)
        remove_runs(opened, names, force=force, jobs={run: jobs_of(run, records) for run in names})
        for run in dict.fromkeys(names):
            done(f"removed runs/{run}")


@runs.command("prune", epilog=example("flowkd runs prune --keep 1 --dry-run"))
def prune_runs(
    run: Annotated[str | None, typer.Argument(help="Default: all runs.")] = None,
    keep: Annotated[int, typer.Option(help="Checkpoints of each run that stay.")] = 1,
    dry_run: Annotated[bool, typer.Option(help="Only tell.")] = False,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Remove all but the last checkpoints; results, metrics and lineages stay."""
    from flowkd.training.runs import prune_checkpoints

    with opened_store(store) as opened:
        gone = prune_checkpoints(opened, keep, run, dry_run=dry_run)
        say([{"removed" if not dry_run else "would remove": each} for each in gone], as_json)
