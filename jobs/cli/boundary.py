"""Commands and groups of commands that end as `cluster.exits` says."""

from __future__ import annotations

import os
from typing import Any

from typer.core import TyperCommand, TyperGroup

from cluster.exits import exits


class Command(TyperCommand):
    """A command that never ends with a traceback of what a user can put right."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        with exits(debug=_debug(ctx)):
            return super().invoke(ctx)


class Group(TyperGroup):
    """Commands that never end with a traceback of what a user can put right."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was named."""
        with exits(debug=_debug(ctx)):
            return super().invoke(ctx)


def _debug(ctx: Any) -> bool:
    """Tells whether `flowkd --debug ...`, or FLOWKD_DEBUG for other entry points, was said."""
    return bool(ctx.find_root().params.get("debug") or os.environ.get("FLOWKD_DEBUG"))
