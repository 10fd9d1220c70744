"""`flowkd new` and `flowkd run`: one file, from data to a served student."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cluster.storage import StorageConfig
from flowkd.errors import ConfigError, DataError
from flowkd.text import visible
from jobs.cli.console import NOTHING_AGAINST_IT, CheckOnly, Overrides, StoreUri

if TYPE_CHECKING:
    from flowkd.training.choices.default_flow import Family
    from jobs.workflow.look import Look
    from jobs.workflow.sizes import Sizes

# What is told of sizes where the teacher is there already.
OF_TEACHER = (
    "The students: at most 25% of the teacher's parameters, and one pass each way, by the teacher."
)
# An option of an import that an error names as its remedy.
OPTION = re.compile(r"`(key|header|delimiter|decimal|missing_texts|incomplete)\b")
File = Annotated[Path, typer.Argument(help="YAML file, as `flowkd new` writes one.")]


def run_file(
    file: File,
    store: StoreUri = None,
    set_: Overrides = None,
    check: CheckOnly = False,
) -> None:
    """Do all that a file asks for, from data to a served student; started again, it goes on."""
    # What they import takes a second.
    from flowkd.config import load_config
    from jobs.cli.run_workflow import run_workflow
    from jobs.workflow.checks import check_workflow
    from jobs.workflow.config import WorkflowConfig

    config = load_config(WorkflowConfig, file, set_ or ())
    storage = StorageConfig.from_uri(store)
    check_workflow(config, storage)
    if check:
        print(NOTHING_AGAINST_IT)
        return
    run_workflow(config, storage)


def new_file(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A table, a folder of pictures or of tables, any fsspec URL, or a data set.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Default: by the data's own.")] = None,
    output: Annotated[Path | None, typer.Option(help="Default: NAME.yaml.")] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(help="A column that the density is conditioned on; several: once each."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="A column of classes, one of which the density is given.")
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="Of the teacher: spline, coupling or autoregressive; default the best known."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="A flow that is there: models/NAME@ALIAS, runs/RUN, or, with --weights, "
            "LIBRARY:package.module:function of nflows, normflows or zuko."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="State dict of such a teacher: safetensors, or torch.save's.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the import, such as key=a/b.")
    ] = None,
    store: StoreUri = None,
) -> None:
    """Look at data, and write one file of everything from import to deployment, to be edited."""
    # What they import takes a second.
    from flowkd.config import apply_overrides, parse_config
    from flowkd.config.yaml_file import parse_yaml
    from jobs.workflow.config import WorkflowConfig
    from jobs.workflow.new import look_at, name_of_source
    from jobs.workflow.write import workflow_text

    called = name or name_of_source(source)
    path = output or Path(f"{called}.yaml")
    if path.exists():
        raise ConfigError(f"{path} is there already: remove it, or name another by --output")
    known = _teacher(teacher, weights, family)
    options: dict[str, Any] = {"context_columns": context} if context else {}
    if label is not None:
        options["label_column"] = label
    apply_overrides(options, settings or ())
    try:
        look = look_at(source, called, options, StorageConfig.from_uri(store).store())
    except DataError as error:
        if OPTION.search(str(error)) is None:
            raise
        raise DataError(f"{error}; here as --set 'KEY=VALUE'") from error
    sizes, known = _sizes(look, family) if teacher is None else (OF_TEACHER, known)
    text = workflow_text(called, look, sizes, f"flowkd run {path}", known)
    parse_config(WorkflowConfig, parse_yaml(text, str(path)), source=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"{look.about}")
    for column, why in look.dropped.items():
        print(visible(f"left out: {column}, {why}"))
    if not isinstance(sizes, str):
        print(f"about {sizes.lasts} of training on this machine, an estimate")
    print(f"wrote {path}: look at it, then `flowkd run {path}`")


def _teacher(teacher: str | None, weights: str | None, family: str | None) -> Any:
    """Returns what a file says of a teacher that is there; None where there is none."""
    if teacher is None:
        if weights is not None:
            raise ConfigError(
                f"--weights: expected --teacher LIBRARY:package.module:function beside it; got "
                f"{weights!r} alone"
            )
        return None
    if family is not None:
        raise ConfigError(f"--family: expected none, for the teacher is {teacher}; got {family!r}")
    if teacher.startswith(("models/", "runs/")):
        if weights is not None:
            raise ConfigError(f"--weights: expected none, for {teacher} has its own; got {weights}")
        return teacher
    library, _, build = teacher.partition(":")
    if weights is None:
        raise ConfigError(
            f"--teacher: expected models/NAME@ALIAS or runs/RUN, or a flow of another library with "
            f"--weights FILE; got {teacher!r} without"
        )
    from flowkd.config import parse_config
    from flowkd.foreign.source import ForeignFlow, load_module

    values = {"library": library, "build": build, "weights": weights}
    load_module(parse_config(ForeignFlow, values, source="--teacher"))
    return values


def _sizes(look: Look, family: str | None) -> tuple[Sizes | str, Any]:
    """Returns what the defaults choose, or why none is known, and what is set of the teacher."""
    from flowkd.training.choices.default_flow import ABOUT
    from jobs.workflow.sizes import sizes_of

    if family is None:
        try:
            return sizes_of(look), None
        except ConfigError as error:
            return str(error), None
    if family not in ABOUT:
        raise ConfigError(f"--family: expected {', '.join(ABOUT)}; got {family!r}")
    sizes = sizes_of(look, cast("Family", family))
    return sizes, {"flow": sizes.flow}
