"""`flowkd data`: data sets imported, listed and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flowkd.config import apply_overrides, parse_config
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.data.manifest import Manifest, dataset_names, read_manifest
from jobs.cli.console import Json, StoreUri, opened_store, say, say_facts
from jobs.importing import Replace
from jobs.importing import import_dataset as import_into

data = typer.Typer(no_args_is_help=True, help="Data sets.")


@data.command("import")
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
    with opened_store(store, "write") as opened:
        values: dict[str, Any] = {"kind": kind}
        values |= {key: value for key, value in (("source", source), ("name", name)) if value}
        apply_overrides(values, settings or [])
        config = parse_config(PrepareConfig, values, source=f"data import {kind}").root
        say_facts(facts(import_into(config, opened, replace=replace)), as_json)


@data.command("list")
def list_datasets(store: StoreUri = None, as_json: Json = False) -> None:
    """List all data sets."""
    with opened_store(store) as opened:
        found = [facts(read_manifest(opened, name)) for name in dataset_names(opened)]
        say(found, as_json, ["name", "kind", "event_shape", "rows", "bytes"])


@data.command("show")
def show_dataset(
    name: str,
    png: Annotated[Path | None, typer.Option(help="Write pictures or histograms here.")] = None,
    split: Annotated[str, typer.Option(help="Of the PNG.")] = "train",
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Show what a data set is; with --png, also what it looks like."""
    with opened_store(store) as opened:
        manifest = read_manifest(opened, name)
        if png is not None:
            # matplotlib takes half a second to import
            from flowkd.report.dataset import dataset_preview

            png.write_bytes(dataset_preview(opened, manifest, split))
        say_facts(facts(manifest), as_json)


def facts(manifest: Manifest) -> dict[str, Any]:
    """Returns what people ask of a data set."""
    values = manifest.model_dump(mode="json", exclude={"format", "splits"}, exclude_none=True)
    splits = manifest.splits.items()
    return {
        **values,
        "rows": {name: split.rows for name, split in splits},
        "bytes": sum(shard.bytes for _, split in splits for shard in split.shards),
    }
