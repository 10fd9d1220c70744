"""`flowkd config schema`: the keys of each configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli.console import Json, say
from jobs.cli.lazy import example, group

# Those of `jobs.schemas`, which needs torch, as help does not.
FILE_NAMES = (
    "workflow",
    "run",
    "search",
    "evaluate",
    "publish",
    "serve",
    "report",
    "pipeline",
    "job",
    "queue",
    "study",
    "capacity",
    "import",
)

config = group("Config files.", "flowkd config schema run")


@config.command("schema", epilog=example("flowkd config schema run"))
def show_schema(
    kind: Annotated[
        str,
        typer.Argument(
            help=f"{', '.join(FILE_NAMES)}, or the kind of a flow, objective, data set."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Print all keys of a configuration, with type, default and meaning."""
    from flowkd.config.schema import keys_of, sentence_of  # the configs need torch
    from jobs.schemas import find_model

    model = find_model(kind)
    rows = [
        {
            "key": key.path,
            "type": key.type,
            "default": "(must be given)" if key.default is None else key.default,
            "what it is": key.sentence,
        }
        for key in keys_of(model)
    ]
    if not as_json:
        print(f"{kind}: {sentence_of(model)}\n")
    say(rows, as_json)
