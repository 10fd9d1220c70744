"""All measures of a flow's samples beside rows of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import Field

from flowkd.config import Config
from flowkd.data.rows import Examples
from flowkd.data.steps import ColumnSteps
from flowkd.evaluation.quality.classifier import classifier_auc
from flowkd.evaluation.quality.features import picture_features, standardise
from flowkd.evaluation.quality.figure import Figure
from flowkd.evaluation.quality.kernels import mmd
from flowkd.evaluation.quality.kolmogorov import kolmogorov_smirnov
from flowkd.evaluation.quality.manifold import prdc
from flowkd.evaluation.quality.samples import Drawn, draw_beside
from flowkd.evaluation.quality.wasserstein import sliced_wasserstein
from flowkd.flows.flow import Flow

Measure = Literal["c2st", "sliced_wasserstein", "mmd", "prdc", "ks"]
# With fewer groups of rows, or samples, nothing is measured.
FEWEST = 20
# Distances of all pairs are in memory: 200 MB for so many.
MOST = 5000


class QualityConfig(Config):
    """How samples of flows are compared with the rows of a split.

    Attributes:
        samples: At most so many of each flow, beside as many rows; 20 to 5000.
        measures: Which ones; default all, which takes seconds a flow, and the drawing.
        seed: Seed of the rows, the samples and the measures.
    """

    samples: int = Field(2000, ge=FEWEST, le=MOST)
    measures: tuple[Measure, ...] = get_args(Measure)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Quality:
    """How far a flow's samples are from rows of a split.

    Attributes:
        figures: `c2st_auc`, `sliced_wasserstein`, `mmd2`, `precision`, `recall`, `density` and
            `coverage`, as far as they were measured: see the functions of the same names. Of a
            conditional flow also `c2st_auc_with_context`, for which the classifier sees x and its
            context; to the others context is nothing.
        columns: The Kolmogorov-Smirnov distance by column, or channel of pictures, in their order.
        not_finite: Number of samples that were left out because of NaN or infinity.
        note: Why nothing was measured, if nothing was.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    columns: dict[str, Figure] = field(default_factory=dict)
    not_finite: int = 0
    note: str | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Quality:
        """Returns what `asdict` made of it."""
        figures, columns = (
            {name: Figure.read(each) for name, each in values[key].items()}
            for key in ("figures", "columns")
        )
        return cls(figures, columns, values["not_finite"], values["note"])

    @property
    def worst_column(self) -> tuple[str, Figure] | None:
        """Name and distance of the column that is furthest off; None where none was measured."""
        found = self.columns.items()
        return max(found, key=lambda item: item[1].value) if found else None


def measure_quality(
    flow: Flow,
    rows: Examples,
    config: QualityConfig | None = None,
    *,
    bins: int | None = None,
    steps: ColumnSteps | None = None,
    names: Sequence[str] | None = None,
) -> Quality:
    """Returns measures of samples of a flow beside rows of a split.

    Tables are compared in standard deviations of their columns, pictures by `picture_features`.
    Conditional flows draw with the contexts of the rows.

    Args:
        flow: On any device.
        rows: Of a split, as they are stored.
        config: What to measure; default all.
        bins: Number of integer values of the data; None if they are continuous.
        steps: Steps of a table's columns; default none.
        names: Names of a table's columns; default x0, x1, ...
    """
    config = config or QualityConfig()
    given = draw_beside(flow, rows, config.samples, bins=bins, steps=steps, seed=config.seed)
    return measure_drawn(given, config, names)


def measure_drawn(
    given: Drawn, config: QualityConfig, names: Sequence[str] | None = None
) -> Quality:
    """Returns measures of samples beside rows, as `measure_quality` does."""
    groups = len(given.real) if given.group is None else len(set(given.group.tolist()))
    if min(groups, len(given.drawn)) < FEWEST:
        what = "rows" if given.group is None else "groups of rows"
        note = (
            f"expected at least {FEWEST} {what} and finite samples; got {groups} and "
            f"{len(given.drawn)}"
        )
        return Quality(not_finite=given.not_finite, note=note)
    pictures = given.real.ndim == 4
    space = picture_features if pictures else standardise
    x, y = space(given.real, given.drawn)
    measures, group, seed = config.measures, given.group, config.seed
    figures: dict[str, Figure] = {}
    if "c2st" in measures:
        figures["c2st_auc"] = classifier_auc(x, y, group, partner=given.partner, seed=seed)
        if given.context is not None:
            figures["c2st_auc_with_context"] = classifier_auc(
                x, y, group, context=given.context, partner=given.partner, seed=seed
            )
    if "sliced_wasserstein" in measures:
        figures["sliced_wasserstein"] = sliced_wasserstein(x, y, group, seed=seed)
    if "mmd" in measures:
        figures["mmd2"] = mmd(x, y, group, seed=seed)
    if "prdc" in measures:
        figures |= prdc(x, y, group, seed=seed)
    columns: dict[str, Figure] = {}
    if "ks" in measures:
        columns = dict(
            kolmogorov_smirnov(
                given.real, given.drawn, None if pictures else names, group, seed=seed
            )
        )
    return Quality(figures, columns, given.not_finite)
