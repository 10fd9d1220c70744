"""Commands and groups of commands that end as `cluster.exits` says."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from cluster.exits import exits


class Command(TyperCommand):
    """A command that never ends with a traceback of what a user can put right."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        with exits():
            return super().invoke(ctx)


class Group(TyperGroup):
    """Commands that never end with a traceback of what a user can put right."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was named."""
        with exits():
            return super().invoke(ctx)
