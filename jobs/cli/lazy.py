"""Commands that are imported when they are called, so that none waits for what another needs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from jobs.cli.boundary import Command, Group


@dataclass(frozen=True)
class Place:
    """Where a command, or a group of them, is found, and what the list of commands says of it.

    Attributes:
        target: `module:name` of a function, or of a typer app that is a group.
        panel: Heading in the list of commands.
        help: One sentence, that of its own page.
        example: A line that calls it; none for a group, which has its own.
    """

    target: str
    panel: str
    help: str
    example: str = ""

    def load(self, name: str) -> Any:
        """Imports the command and returns it."""
        module, _, attribute = self.target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            loaded = get_group(found)
            loaded.name = name
            return loaded
        app = typer.Typer(add_completion=False)
        app.command(name, cls=Command, help=self.help, epilog=example(self.example))(found)
        return get_command(app)

    def outline(self, name: str) -> Any:
        """Returns what stands for the command in a list: nothing is imported."""
        return TyperCommand(name, help=self.help, rich_help_panel=self.panel)


def example(*lines: str) -> str:
    """Returns the end of a help page: lines that call the command."""
    return "Example:  " + "\n\n".join(lines)


def group(about: str, line: str) -> typer.Typer:
    """Returns a group of commands, which says what it is of, and a line that calls one of them."""
    return typer.Typer(cls=Group, no_args_is_help=True, help=about, epilog=example(line))


def lazy_group(places: Mapping[str, Place]) -> type[Group]:
    """Returns the class of a group of commands that lie elsewhere; it goes into `typer.Typer`."""

    class LazyGroup(Group):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*places, *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name in places:
                return places[cmd_name].load(cmd_name)
            return super().get_command(ctx, cmd_name)

        def format_help(self, ctx: Any, formatter: Any) -> None:
            self._outline().format_help(ctx, formatter)

        def shell_complete(self, ctx: Any, incomplete: str) -> Any:
            return self._outline().shell_complete(ctx, incomplete)

        def _outline(self) -> TyperGroup:
            """Returns a group that looks like this one, whose commands do nothing."""
            outlines = {name: place.outline(name) for name, place in places.items()}
            return TyperGroup(
                name=self.name, commands={**outlines, **self.commands}, params=self.params,
                help=self.help, epilog=self.epilog, rich_markup_mode=self.rich_markup_mode,
            )  # fmt: skip

    return LazyGroup
