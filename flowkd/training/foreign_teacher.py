"""A teacher of another library, which its own library computes, as a run refers to it."""

from __future__ import annotations

from pydantic import Field

from flowkd.config import Config
from flowkd.data.facts import DataFacts
from flowkd.errors import ConfigError
from flowkd.flows.context import ContextSpec
from flowkd.foreign.adapters.base import Adapter
from flowkd.foreign.source import ForeignFlow, load_module, weights_hash
from flowkd.foreign.teachers import adapted, checked


class PinnedForeign(Config):
    """A flow of another library, named so that it stays the same one.

    Attributes:
        source: Code that builds it, and its weights.
        weights: SHA-256 of the file of its weights.
        event_shape: Of one example.
        classes: Number of classes that it is conditioned on.
        context_size: Length of the vectors that it is conditioned on.
        bins: None: it is of continuous data.
        data: What these data are called: unknown.
        remarks: What its user should know: such as that nothing tells whether its log_prob
            integrates to 1.
    """

    source: ForeignFlow
    weights: str
    event_shape: tuple[int, ...]
    classes: int = 0
    context_size: int = 0
    bins: None = None
    data: DataFacts = DataFacts()
    remarks: list[str] = Field(default_factory=list)

    @property
    def reference(self) -> str:
        """What it is called where an artifact has a reference."""
        return f"{self.source.library} {self.source.build}, weights {self.weights[:12]}"

    def shape(self) -> dict[str, object]:
        """Returns what a student without data takes over, by the fields of a flow's config."""
        source, of_context = self.source, self.source.of_context
        found: dict[str, object] = {
            "event_shape": self.event_shape,
            "mean": 0.0 if source.mean is None else source.mean,
            "scale": 1.0 if source.scale is None else source.scale,
            "classes": self.classes,
            "context_size": self.context_size,
        }
        if self.context_size:
            found |= {"context_mean": of_context[0], "context_scale": of_context[1]}
        return found


def pin_foreign(source: ForeignFlow) -> tuple[PinnedForeign, Adapter]:
    """Builds a teacher of another library, and returns also how a run refers to it.

    Raises:
        ConfigError: Its library is not installed, or what `load_module` raises.
        ConversionError: It is not a whole flow, or its log_prob does not integrate to 1.
    """
    teacher = checked(adapted(load_module(source), source))
    context: ContextSpec = teacher.context
    pinned = PinnedForeign(
        source=source,
        weights=weights_hash(source.weights),
        event_shape=teacher.event_shape,
        classes=context.classes,
        context_size=context.size,
        remarks=teacher.remarks,
    )
    return pinned, teacher


def load_foreign(pinned: PinnedForeign) -> Adapter:
    """Returns a teacher of another library; raises ConfigError for other weights than before."""
    found = weights_hash(pinned.source.weights)
    if found != pinned.weights:
        raise ConfigError(
            f"objective.teacher.weights: expected {pinned.source.weights} of SHA-256 "
            f"{pinned.weights[:12]}, as when the run began; got {found[:12]}: start a run "
            f"of another name"
        )
    return adapted(load_module(pinned.source), pinned.source)
