"""What the values of a data set are called and mean: it stays with a flow to the end."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from flowkd.columns import ColumnStep
from flowkd.config import Config
from flowkd.data.manifest import Manifest

SHOWN = 20


class DataFacts(Config):
    """What an artifact keeps of the data that its flow was trained on; None for what is unknown.

    Attributes:
        columns: Names of a table's columns, in the order of x.
        units: Units of columns, by name, where they are known.
        steps: Steps of the columns to whose values noise was added, None for others.
        class_names: Names of the classes that the flow is conditioned on, if they have any.
        context_columns: Names of the context's columns, in their order.
        context_minimum: Least value of each of them in the train split.
        context_maximum: Largest value of each of them in the train split.
    """

    columns: list[str] | None = None
    units: dict[str, str] = Field(default_factory=dict)
    steps: list[ColumnStep | None] | None = None
    class_names: list[str] | None = None
    context_columns: list[str] | None = None
    context_minimum: list[float] | None = None
    context_maximum: list[float] | None = None

    @classmethod
    def of(cls, manifest: Manifest | None) -> DataFacts:
        """Returns the facts of a data set; those of none are unknown."""
        if manifest is None:
            return cls()
        return cls(**{key: getattr(manifest, key) for key in cls.model_fields})

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

    def without_context(self) -> DataFacts:
        """Returns the facts for a flow that is not conditioned."""
        return DataFacts(
            **{key: value for key, value in dict(self).items() if not key.startswith("context_")}
            | {"class_names": None}
        )


def _shown(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def with_unit(name: str, unit: str | None) -> str:
    """Returns a column's name as it is shown, with its unit where that is known.

    Examples:
        >>> with_unit("energy", "keV"), with_unit("counts", None)
        ('energy [keV]', 'counts')
    """
    return f"{name} [{unit}]" if unit else name


def column_names(facts: DataFacts | Manifest, count: int) -> Sequence[str]:
    """Returns the names of so many columns as they are shown: x0, x1, ... where they have none."""
    names = facts.columns or [f"x{number}" for number in range(count)]
    return [with_unit(name, facts.units.get(name)) for name in names]


def named_values(facts: DataFacts | Manifest) -> dict[str, str]:
    """Returns in words what the values of x and of the context are, for cards and pages.

    Examples:
        >>> named_values(DataFacts(columns=["ra", "n"], units={"ra": "deg"}))
        {'columns': 'ra [deg], n'}
    """
    words = {}
    if facts.columns:
        names = column_names(facts, len(facts.columns))
        words["columns"] = ", ".join(names)
        steps = zip(names, facts.steps or [], strict=False)
        if found := [f"{name} by {step.width:g}" for name, step in steps if step]:
            words["steps"] = f"noise as wide as a step was added to {', '.join(found)}"
    if facts.context_columns:
        names = [with_unit(name, facts.units.get(name)) for name in facts.context_columns]
        if facts.context_minimum and facts.context_maximum:
            ends = zip(names, facts.context_minimum, facts.context_maximum, strict=True)
            names = [f"{name} from {low:g} to {high:g}" for name, low, high in ends]
        words["context"] = ", ".join(names)
    if facts.class_names:
        words["classes"] = ", ".join(facts.class_names)
    return words
