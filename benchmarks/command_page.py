"""The page docs/reference/cli.md, from the command line: every command, option and example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from typer.main import get_command

from jobs.cli.main import PLACES, app
from jobs.kinds import KINDS

PAGE = Path("docs/reference/cli.md")
WORDS = {int: "N", float: "NUMBER", Path: "FILE"}
HEAD = """# Commands

Made from the code by `make docs`; `flowkd COMMAND --help` says the same. Results go to stdout,
hints and errors to stderr; [exit codes](exit-codes.md) say how a command ended. `--store` names the
root of all that is kept, else `FLOWKD_STORE`, else `./store`.
"""
JOBS = """## Jobs as programs

What the queue runs, and what `ray job submit` takes. Each reads a config file of its kind, whose
keys are in [the reference of configs](config.md), and takes `--config FILE`, `--store URI`, `--set
key.path=value` and `--check`; trainings, evaluations and publications also `--local`, which does
without Ray, and trainings `--cluster`.

| kind | program | config |
| --- | --- | --- |
"""


def document() -> str:
    """Returns docs/reference/cli.md."""
    root = get_command(app)
    parts = [HEAD, f"## flowkd\n\n{_table(root, 'option')}"]
    panel = ""
    for name, place in PLACES.items():
        if place.panel != panel:
            panel = place.panel
            parts.append(f"## {panel}\n")
        found = _below(f"flowkd {name}", place.load(name))
        parts += [_section(typed, each) for typed, each in found]
    return "\n".join([*parts, JOBS + _jobs()])


def _below(typed: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yields a command and all below it, by what is typed."""
    yield typed, command
    if hasattr(command, "list_commands"):
        context = command.make_context(typed, [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from _below(f"{typed} {name}", command.get_command(context, name))


def _section(typed: str, command: Any) -> str:
    arguments = " ".join(_called(each) for each in command.params if _is_argument(each))
    more = " COMMAND" if hasattr(command, "list_commands") else ""
    usage = f"`{' '.join([typed, '[OPTIONS]', *filter(None, [arguments])])}{more}`"
    lines = (command.epilog or "").removeprefix("Example:  ").split("\n\n")
    called = "\n".join(line for line in lines if line)
    example = f"\n```sh\n{called}\n```\n" if called else ""
    tables = [_table(command, "argument"), _table(command, "option")]
    return (
        "\n".join([f"### {typed}\n", f"{command.help}\n", f"{usage}\n", *filter(None, tables)])
        + example
    )


def _table(command: Any, kind: str) -> str:
    rows = [
        f"| {_called(each)} | {_text(each.help or '')} | {_default(each)} |"
        for each in command.params
        if each.param_type_name == kind
        and not {"--install-completion", "--show-completion"} & set(each.opts)
    ]
    head = [f"| {kind} | | default |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, ""]) if rows else ""


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _called(parameter: Any) -> str:
    """Returns what is typed for an argument or an option, with what its value is."""
    if _is_argument(parameter):
        name = (parameter.metavar or parameter.name.upper()).replace("|", " or ")
        return name if parameter.required else f"[{name}]"
    names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag or parameter.secondary_opts:
        return f"`{names}`"
    several = ", as often as needed" if parameter.multiple else ""
    return f"`{names} {WORDS.get(_kind(parameter), 'TEXT')}`{several}"


def _kind(parameter: Any) -> Any:
    """Returns the type of an option's value, without `None` and `list`."""
    found = parameter.type_descriptor.annotation
    while args := [each for each in get_args(found) if each is not type(None)]:
        found = args[0]
    return found


def _default(parameter: Any) -> str:
    given = parameter.default
    if given is None or given is False or callable(given) or parameter.required or given == ():
        return ""
    return f"`{given}`"


def _text(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _jobs() -> str:
    rows = [
        f"| `{name}` | `python -m {kind.module}` | `{kind.config.__name__}` |"
        for name, kind in KINDS.items()
    ]
    return "\n".join([*rows, ""])


def main() -> None:
    """Writes docs/reference/cli.md."""
    PAGE.write_text(document(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
