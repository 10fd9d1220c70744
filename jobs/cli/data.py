"""`flowkd data`: data sets imported, listed and shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowkd.errors import DataError
from flowkd.text import visible
from jobs.cli.console import (
    Json,
    Replace,
    StoreUri,
    end_with_damage,
    opened_store,
    say,
    say_facts,
)
from jobs.cli.lazy import example, group

if TYPE_CHECKING:  # what reads data needs torch, and takes a second to import
    from flowkd.data.manifest import Manifest

data = group("Data sets.", "flowkd data list")


@data.command(
    "import",
    epilog=example("flowkd data import table --source rows.csv --name rows"),
)
def import_dataset(
    kind: Annotated[str, typer.Argument(help="cifar10, power, images, table, ...")],
    source: Annotated[str | None, typer.Option(help="A path or any fsspec URL.")] = None,
    name: Annotated[str | None, typer.Option(help="In the store; default: the kind's own.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as in a config file.")
    ] = None,
    replace: Replace = False,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Import a data set as its publisher distributes it: Parquet shards and a manifest."""
    from flowkd.config import apply_overrides, parse_config
    from flowkd.data.importers.prepare import PrepareConfig
    from jobs.importing import import_dataset as import_into

    with opened_store(store, "write") as opened:
        values: dict[str, Any] = {"kind": kind}
        values |= {key: value for key, value in (("source", source), ("name", name)) if value}
        apply_overrides(values, settings or [])
        config = parse_config(PrepareConfig, values, source=f"data import {kind}").root
        say_dataset(import_into(config, opened, replace=replace), as_json)


@data.command("list", epilog=example("flowkd data list --json"))
def list_datasets(store: StoreUri = None, as_json: Json = False) -> None:
    """List all data sets; exit with 1 if the manifest of one cannot be read."""
    from flowkd.data.manifest import dataset_names, read_manifest
    from flowkd.registry.catalog import said_of

    with opened_store(store) as opened:
        found: list[dict[str, Any]] = []
        damage: dict[str, str | None] = {}
        for name in dataset_names(opened):
            try:
                found.append({**facts(read_manifest(opened, name)), "damage": None})
            except DataError as error:
                damage[f"datasets/{name}"] = said_of(error)
                unknown = dict.fromkeys(("kind", "event_shape", "rows", "bytes"))
                found.append({"name": name, **unknown, "damage": str(error)})
        say(found, as_json, ["name", "kind", "event_shape", "rows", "bytes"])
        end_with_damage(damage, as_json)


@data.command("show", epilog=example("flowkd data show rows --png rows.png"))
def show_dataset(
    name: str,
    png: Annotated[Path | None, typer.Option(help="Write pictures or histograms here.")] = None,
    split: Annotated[str, typer.Option(help="Of the PNG.")] = "train",
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Show what a data set is; with --png, also what it looks like."""
    from flowkd.data.manifest import read_manifest

    with opened_store(store) as opened:
        manifest = read_manifest(opened, name)
        if png is not None:
            # matplotlib takes half a second to import
            from flowkd.report.dataset import dataset_preview

            png.write_bytes(dataset_preview(opened, manifest, split))
        say_dataset(manifest, as_json)


# What is said of each column in a line of its own, rather than of all in one.
OF_COLUMNS = ("columns", "units", "steps", "transforms", "mean", "scale")


def say_dataset(manifest: Manifest, as_json: bool) -> None:
    """Prints what a data set is, what is said of each of its columns, and all remarks."""
    every = facts(manifest)
    if as_json:
        say_facts(every, as_json)
        return
    hidden = ("remarks", "left_out", *(OF_COLUMNS if manifest.columns else ()))
    say_facts({key: value for key, value in every.items() if key not in hidden}, False)
    if manifest.columns:
        print()
        say(columns_of(manifest), False)
    for left in manifest.left_out:
        names = f": {', '.join(left.names)}" if left.names else ""
        print(visible(f"\nleft out: {left.count:,} {left.what} {left.why}{names}"))
    for remark in manifest.remarks:
        print(visible(f"\nremark: {remark}"))


def columns_of(manifest: Manifest) -> list[dict[str, Any]]:
    """Returns what is known of each column of a table, with its unit."""
    from flowkd.data.facts import column_names

    names = column_names(manifest, len(manifest.columns or ()))

    def of(values: Sequence[Any] | None) -> Sequence[Any]:
        return values or [None] * len(names)

    rows = zip(
        names,
        *map(of, (manifest.mean, manifest.scale, manifest.steps, manifest.transforms)),
        strict=True,
    )
    return [
        {
            "column": name,
            "mean": "" if mean is None else f"{mean:.6g}",
            "scale": "" if scale is None else f"{scale:.6g}",
            "step": "" if step is None else f"{step.width:g}",
            "transform": "" if transform is None else transform.shown,
        }
        for name, mean, scale, step, transform in rows
    ]


def facts(manifest: Manifest) -> dict[str, Any]:
    """Returns what people ask of a data set."""
    from flowkd.data.groups import groups_of

    values = manifest.model_dump(mode="json", exclude={"format", "splits"}, exclude_none=True)
    splits = manifest.splits.items()
    return {
        **values,
        "rows": {name: split.rows for name, split in splits},
        "groups": {name: groups_of(split) for name, split in splits},
        "bytes": sum(shard.bytes for _, split in splits for shard in split.shards),
    }
