"""What every flow family has in common: one typed config, from which its flow is built."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from flowkd.bijectors import Affine, Bijector, RationalQuadratic, Univariate
from flowkd.columns import ColumnTransform
from flowkd.config import Config
from flowkd.flows.context import ContextSpec

Positive = Annotated[int, Field(ge=1)]
PerLevel = Positive | tuple[Positive, ...]


class LevelSize(NamedTuple):
    """The size of one level.

    Attributes:
        depth: K, the number of steps in the level.
        width: Hidden units of the first layer of its networks.
        inner: Hidden units of their second layer.
    """

    depth: int
    width: int
    inner: int


class FlowConfig(Config):
    """The config of a flow family: what to build, and all that other packages ask of a family.

    A family subclasses it, or StepsConfig, in a file of its own, adds a `kind` and its fields, and
    is listed in `flowkd.flows.configs.FAMILIES`. A layer of its own that has a faster form for
    inference registers that with `flowkd.flows.inference`.

    Attributes:
        event_shape: Shape of one example; left out, the data set's.
        mean: Subtracted from the data, one number or one for each channel; left out, the data
            set's.
        scale: What the data are divided by then.
        transforms: What a table's columns go through before, one for each: `log`, `logit`,
            `asinh` or null; left out, the data set's. mean and scale are then those of what comes
            out.
        context: `ignore` for a flow without context on a data set that has one; left out, the
            flow is conditioned on what the data set has.
        classes: Number of classes to condition on; left out, the data set's.
        context_size: Length of the vectors to condition on; left out, the data set's.
        context_mean: Subtracted from these vectors, one number or one for each value; left out,
            the data set's.
        context_scale: What they are divided by then.
    """

    # Each family's own is a Literal, by which configs in YAML are told apart.
    kind: str
    event_shape: tuple[int, ...] | None = None
    mean: float | tuple[float, ...] | None = None
    scale: float | tuple[float, ...] | None = None
    transforms: tuple[ColumnTransform | None, ...] | None = None
    context: Literal["ignore"] | None = None
    classes: Annotated[int, Field(ge=0)] | None = None
    context_size: Annotated[int, Field(ge=0)] | None = None
    context_mean: float | tuple[float, ...] | None = None
    context_scale: float | tuple[float, ...] | None = None

    # Kinds of warm start that a student of the family may begin with.
    warm_starts: ClassVar[tuple[str, ...]] = ()
    # A student of a share s of the parameters has s to this power of the depth: with 1/2, depth and
    # width shrink alike.
    depth_power: ClassVar[float] = 0.5

    @property
    def context_spec(self) -> ContextSpec:
        """What the flow is conditioned on."""
        return ContextSpec(classes=self.classes or 0, size=self.context_size or 0)

    @model_validator(mode="after")
    def _a_transform_for_each_column(self) -> Self:
        shape = self.event_shape
        if self.transforms and shape is not None and shape != (len(self.transforms),):
            raise ValueError(
                f"expected one transform for each column of event_shape {shape}, null for none; "
                f"got {len(self.transforms)}"
            )
        return self

    @model_validator(mode="after")
    def _one_context(self) -> Self:
        if self.classes and self.context_size:
            raise ValueError("expected classes or context_size; got both")
        if self.context == "ignore" and (self.classes or self.context_size):
            raise ValueError(
                f"expected context: ignore, or {self.context_spec}; got both: leave one out"
            )
        return self

    @property
    def sizes(self) -> dict[str, object]:
        """Its levels, depth and width, by name, as far as it has them."""
        names = ("levels", "depth", "width")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    @abstractmethod
    def build_bijectors(self) -> dict[str, Bijector]:
        """Returns new bijectors by name, in the order of forward, after the standardising one."""

    def student(self, of_steps: bool = False) -> FlowConfig:
        """Returns the config that students are made smaller from: by default itself.

        Args:
            of_steps: Whether it must be one of levels of steps. Another one than itself may leave
                mean and scale to the data.
        """
        return self

    def scaled(self, depth: float, width: float) -> Self:
        """Returns the config with its depth and width times a factor each, at least 1.

        Raises:
            ValueError: A family whose size is not given by depth and width.
        """
        raise ValueError(f"expected a family of a depth and a width; got {self.kind}")


class UnivariateConfig(FlowConfig):
    """A family whose networks give the parameters of a map of single numbers.

    Attributes:
        transform: The map: `affine`, the default, a shift and a scale; or `spline`, a monotone
            rational-quadratic spline, more flexible and slower.
        bins: Of a spline; default 8.
        bound: Beyond plus and minus this a spline is the identity; default 5, for in units of a
            standard deviation nearly all values lie within.
    """

    transform: Literal["affine", "spline"] = "affine"
    bins: int = Field(8, ge=2)
    bound: float = Field(5.0, gt=0, allow_inf_nan=False)

    @property
    def univariate(self) -> Univariate:
        """The map itself."""
        if self.transform == "affine":
            return Affine()
        return RationalQuadratic(self.bins, self.bound)

    @model_validator(mode="after")
    def _of_a_spline(self) -> Self:
        for key in ("bins", "bound"):
            value = getattr(self, key)
            if self.transform != "spline" and value != type(self).model_fields[key].default:
                raise ValueError(
                    f"expected transform: spline, for {key}: {value:g}; got transform: "
                    f"{self.transform}: leave {key} out, or choose the spline"
                )
        return self


class StepsConfig(UnivariateConfig):
    """A family of levels, each of steps: ActNorm, a linear map, and a map with a network.

    Attributes:
        depth: K, the number of steps in a level: one number, or one for each level.
        width: Hidden units of the first layer of the networks, in the same form. Families whose
            networks have a second one of another width give that as `inner`.
    """

    depth: PerLevel
    width: PerLevel

    warm_starts: ClassVar[tuple[str, ...]] = ("fold", "inherit", "slice", "copy")
    # A scaled flow's widths are multiples of it, narrow ones of half of it: the fastest to compute.
    lanes: ClassVar[int] = 1
    # By which power of 2 a scaled flow's widths grow from level to level, where nothing is said.
    widening: ClassVar[float] = 0.0

    @property
    @abstractmethod
    def level_sizes(self) -> list[LevelSize]:
        """The size of each level, the one next to the data first."""

    @property
    @abstractmethod
    def level_inputs(self) -> list[tuple[int, int]]:
        """How many channels each level sees, and at how many places (height times width)."""

    def check_warm_start(self, kind: str, source: Self) -> None:
        """Raises ValueError for what the family's own fields forbid to begin from a source so."""

    @property
    def work(self) -> int:
        """About how many products of two numbers the networks take for one row."""
        taps = 9 if self.event_shape is not None and len(self.event_shape) == 3 else 1
        return sum(
            size.depth * places * (
                taps * (channels // 2) * size.width + size.width * size.inner
                + taps * size.inner * self.univariate.parameters * (channels - channels // 2)
            )
            for size, (channels, places) in zip(self.level_sizes, self.level_inputs, strict=True)
        )  # fmt: skip

    def scaled(
        self, depth: float, width: float, deepening: float = 0.0, widening: float | None = None
    ) -> Self:
        """Returns the config with its depth and width times a factor each, at least 1.

        Args:
            depth: Of the depth.
            width: Of the width.
            deepening: By which power of 2 the factor of the depth grows from level to level, the
                geometric mean as it is; no level gets deeper than it was. 0 for all alike.
            widening: The same of the width; default the family's, or for networks too narrow for
                lanes to matter 0, and any widths.
        """
        sizes = self.level_sizes
        middle = (len(sizes) - 1) / 2
        lanes_of_widths = self.lanes
        if widening is None:
            widening = self.widening
            if min(size.width for size in sizes) * width < 2 * self.lanes:
                widening, lanes_of_widths = 0.0, 1

        def times(value: PerLevel, factor: float, growth: float, lanes: int = 1) -> PerLevel:
            if isinstance(value, int) and (not growth or len(sizes) == 1):
                return _rounded(value * factor, lanes)
            values = (value,) * len(sizes) if isinstance(value, int) else value
            scaled = tuple(
                min(each, _rounded(each * factor * 2 ** (growth * (level - middle)), lanes))
                for level, each in enumerate(values)
            )
            return scaled[0] if len(set(scaled)) == 1 else scaled

        changes = {
            "depth": times(self.depth, depth, deepening),
            "width": times(self.width, width, widening, lanes_of_widths),
        }
        inner = getattr(self, "inner", None)
        if inner is not None:
            changes["inner"] = times(inner, width, widening, lanes_of_widths)
        return self.model_copy(update=changes)


def _rounded(value: float, lanes: int) -> int:
    """Returns the nearest whole number, at least 1; a multiple of the lanes, or half as many."""
    for unit in (lanes, lanes // 2):
        if unit > 1 and value >= 1.5 * unit:
            return unit * round(value / unit)
    return max(1, round(value))


def group_bounds(groups: int, items: int) -> list[tuple[int, int]]:
    """Returns where each of some even groups of items, such as steps, starts and stops.

    Example:
        >>> group_bounds(2, 5)
        [(0, 2), (2, 5)]
    """
    edges = [items * number // groups for number in range(groups + 1)]
    return list(pairwise(edges))
