"""`flowkd models`: published models, listed, shown, verified, pointed at and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flowkd.errors import ConfigError, StoreError
from flowkd.registry.aliases import alias_history, set_alias
from jobs.cli.console import Json, StoreUri, done, end_with_damage, opened_store, say, say_facts
from jobs.cli.lazy import example, group

Reference = Annotated[str, typer.Argument(help="models/NAME@VERSION_OR_ALIAS or runs/RUN.")]

models = group("Published models.", "flowkd models list")


@models.command("list", epilog=example("flowkd models list --json"))
def list_models(store: StoreUri = None, as_json: Json = False) -> None:
    """List all versions of all models; exit with 1 if one, or an alias, cannot be read."""
    from flowkd.registry.catalog import damaged_aliases, model_versions

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


@models.command("show", epilog=example("flowkd models show models/photos@best"))
def show_model(reference: Reference, store: StoreUri = None, as_json: Json = False) -> None:
    """Show what an artifact is, how good, and what it was made from."""
    from flowkd.flows.build import count_parameters  # these need torch
    from flowkd.flows.in_words import passes_of
    from flowkd.registry.artifacts import load_artifact
    from flowkd.registry.figures import figures_in_words

    with opened_store(store) as opened:
        artifact = load_artifact(opened, reference)
        manifest, config = artifact.manifest, artifact.config.flow
        flow = config.model_dump(mode="json", exclude_defaults=True)
        if not as_json:  # layers one by one, of a converted flow, are pages
            flow = {**{key: flow[key] for key in flow if key != "layers"}, **config.sizes}
        facts = {
            "reference": reference,
            "version": artifact.version,
            "created": manifest.created,
            "parameters": count_parameters(artifact.flow),
            "passes": passes_of(artifact.flow),
            "data": manifest.data.model_dump(exclude_defaults=True),
            "flow": flow,
            "metrics": artifact.metrics if as_json else figures_in_words(artifact.metrics),
            "lineage": manifest.lineage.model_dump(exclude_none=True),
            **({"remarks": manifest.remarks} if manifest.remarks else {}),
        }
        say_facts(facts, as_json)


@models.command("verify", epilog=example("flowkd models verify models/photos@best"))
def verify_models(
    references: Annotated[list[str] | None, typer.Argument(help="Default: all versions.")] = None,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Read all parts again and compare them with their manifests; exit with 1 if one differs."""
    from flowkd.registry.catalog import damaged_aliases, find_damage, model_versions

    with opened_store(store) as opened:
        asked = references or [
            *(version.reference for version in model_versions(opened)),
            *damaged_aliases(opened),
        ]
        found = [{"reference": each, "damage": find_damage(opened, each)} for each in asked]
        say(found if as_json else [{**e, "damage": e["damage"] or "none"} for e in found], as_json)
        if any(each["damage"] for each in found):
            raise typer.Exit(1)


@models.command("alias", epilog=example("flowkd models alias photos best VERSION"))
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
        done(f"models/{name}@{alias} is {version}")


@models.command("export", epilog=example("flowkd models export models/photos@best"))
def export_model(
    reference: Reference,
    form: Annotated[
        Literal["onnx", "torch-export"], typer.Option("--format", help="onnx or torch-export.")
    ] = "onnx",
    to: Annotated[
        Path | None, typer.Option(help="A new folder; default the version's name and the format.")
    ] = None,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Write log_prob, and x from z, for programs without flowkd: C++, browsers, Triton."""
    from flowkd.flows.engine.export import export_flow  # these need torch
    from flowkd.registry.artifacts import load_artifact

    with opened_store(store) as opened:
        artifact = load_artifact(opened, reference)
        name = artifact.pinned.partition("/")[2].replace("@", "-")
        folder = to or Path(f"{name}-{form}")
        facts = export_flow(artifact.flow, folder, form, {"reference": artifact.pinned})
        if as_json:
            return say_facts({"folder": str(folder), **facts}, as_json)
        done(f"{folder} has {artifact.pinned}, and agrees with it")
        for direction in {"log_prob", "inverse"} - set(facts["directions"]):
            what = "log_prob" if direction == "log_prob" else "x from z"
            done(f"{what} is not in it: it takes a pass a column, and flowkd alone computes it")


@models.command(
    "import",
    epilog=example(
        "flowkd models import --from zuko --build mypackage.flows:build --weights flow.pt "
        "--model jets"
    ),
)
def import_foreign(
    library: Annotated[
        Literal["nflows", "normflows", "zuko"], typer.Option("--from", help="Its library.")
    ],
    build: Annotated[
        str, typer.Option(help="package.module:function that builds it, without arguments.")
    ],
    weights: Annotated[
        str, typer.Option(help="Its state dict: safetensors, or by torch.save. No pickle is read.")
    ],
    model: Annotated[str, typer.Option(help="Name of the model that it becomes.")],
    dataset: Annotated[
        str | None, typer.Option(help="That it was trained on: names, and a comparison.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from the data before: 0.5, or 1.0,2.0.")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="What the data were divided by then.")] = None,
    context_mean: Annotated[str | None, typer.Option(help="The same of context vectors.")] = None,
    context_scale: Annotated[str | None, typer.Option(help="The same of context vectors.")] = None,
    alias: Annotated[str, typer.Option(help="That is moved to the new version.")] = "best",
    force: Annotated[
        bool, typer.Option("--force", help="Publish it although it is unsound; its card says so.")
    ] = False,
    store: StoreUri = None,
    as_json: Json = False,
) -> None:
    """Take over a flow of nflows, normflows or zuko as a model of the same log_prob."""
    from flowkd.config import parse_config
    from flowkd.registry.imported import ImportConfig, import_model  # needs torch

    given = {
        "mean": mean, "scale": scale, "context_mean": context_mean, "context_scale": context_scale,
    }  # fmt: skip
    units = {name: numbers(name, text) for name, text in given.items()}
    values = {
        "model": model,
        "source": {"library": library, "build": build, "weights": weights, **units},
        "dataset": dataset,
        "alias": alias,
        "force": force,
    }
    config = parse_config(ImportConfig, values, source="the command")
    with opened_store(store, "write") as opened:
        found = import_model(config, opened)
        reference = f"models/{model}@{found.version}"
        if as_json:
            facts = {"reference": reference, "origin": found.origin}
            return say_facts(
                {**facts, "parameters": found.parameters, "metrics": found.metrics}, as_json
            )
        done(
            f"{reference} is {found.origin}, of {found.parameters:,} parameters and equal log_prob"
        )


def numbers(name: str, text: str | None) -> float | list[float] | None:
    """Returns a number, or several between commas; raises ConfigError for other text."""
    if text is None:
        return None
    try:
        values = [float(each) for each in text.split(",")]
    except ValueError as error:
        option = name.replace("_", "-")
        raise ConfigError(
            f"--{option}: expected a number, or several between commas; got {text!r}"
        ) from error
    return values[0] if len(values) == 1 else values


@models.command("remove", epilog=example("flowkd models remove models/photos@VERSION"))
def remove_model(reference: Reference, store: StoreUri = None) -> None:
    """Remove a version to which no alias points and which taught no other artifact."""
    from flowkd.registry.removal import remove_version

    with opened_store(store) as opened:
        kind, _, rest = reference.partition("/")
        name, _, version = rest.partition("@")
        if kind != "models" or not version:
            raise StoreError(f"expected models/NAME@VERSION; got {reference!r}")
        remove_version(opened, name, version)
        done(f"removed {reference}")
