"""What an artifact keeps of its data: names, categories, and the range of the context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from flowkd.config import Config
from flowkd.data.manifest import Manifest
from flowkd.flows.context import ContextSpec

SHOWN = 20


class DataFacts(Config):
    """What the values that a flow takes are called, and where its context lay; None if unknown.

    Attributes:
        columns: Names of a table's columns, in the order of x.
        class_names: Names of the classes that it is conditioned on, the first of class 0.
        context_columns: Names of the context's columns, in their order.
        context_minimum: Least value of each of them in the train split.
        context_maximum: Largest value of each of them in the train split.
    """

    columns: list[str] | None = None
    class_names: list[str] | None = None
    context_columns: list[str] | None = None
    context_minimum: list[float] | None = None
    context_maximum: list[float] | None = None

    @classmethod
    def of(cls, manifest: Manifest, context: ContextSpec) -> Self:
        """Returns the facts of a data set, as far as a flow of this context takes them."""
        return cls(
            columns=manifest.columns,
            class_names=manifest.class_names if context.classes else None,
            context_columns=manifest.context_columns if context.width else None,
            context_minimum=manifest.context_minimum if context.size else None,
            context_maximum=manifest.context_maximum if context.size else None,
        )

    def contradicts(self, other: DataFacts) -> str | None:
        """Returns in words how names tell that values mean something else there, if they do.

        Names that are merely others, as of a column that was renamed, contradict nothing; the same
        names in another order do, and so do other categories.
        """
        for what in ("columns", "context_columns", "class_names"):
            ours, theirs = getattr(self, what), getattr(other, what)
            if not ours or not theirs or ours == theirs:
                continue
            if what == "class_names" or sorted(ours) == sorted(theirs):
                return f"{what} {_shown(ours)}; got {_shown(theirs)}"
        return None

    def lines(self) -> Iterator[str]:
        """Yields the facts as lines of a Markdown list."""
        for what, names in (("columns", self.columns), ("classes", self.class_names)):
            if names:
                yield f"- {what}: {_shown(names)}"
        if self.context_minimum is not None and self.context_maximum is not None:
            names = self.context_columns or [f"[{n}]" for n in range(len(self.context_minimum))]
            ranges = zip(names, self.context_minimum, self.context_maximum, strict=True)
            for name, low, high in ranges:
                yield f"- context {name}: {low:g} to {high:g} in training"


def _shown(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
