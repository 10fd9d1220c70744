"""`flowkd config schema`: the keys of each configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from flowkd.config.schema import keys_of, sentence_of
from jobs.cli.boundary import Group
from jobs.cli.console import Json, say
from jobs.schemas import FILES, find_model

config = typer.Typer(cls=Group, no_args_is_help=True, help="Config files.")


@config.callback()
def _commands() -> None:
    """Config files."""


@config.command("schema")
def show_schema(
    kind: Annotated[
        str, typer.Argument(help=f"{', '.join(FILES)}, or the kind of a flow, objective, data set.")
    ],
    as_json: Json = False,
) -> None:
    """Print all keys of a configuration, with type, default and meaning."""
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
